"""What a tenant's admin asks and is answered about its own tenant, in the farm's own JSON. Pure."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from farm.jobs.roles import Role
from farm.jobs.tenant_limits import TenantLimits
from farm.wire.own import Strict
from farm.wire.own_views import View

_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
_Dollars = Annotated[float, Field(ge=0, le=1e9)]


class CreateKey(Strict):
    """A key of your own tenant."""

    role: Role = Field(Role.MEMBER, strict=False, description="at most the role of the key that asks")
    name: str = Field("", max_length=200, description="what it is for")
    ak: bool = Field(False, description="`ak_` and 32 characters: crun's clients take no other form")


class KeyView(View):
    """A key without its secret. `shown` is its beginning; `last_used` a day of UTC."""

    id: str
    object: Literal["api_key"] = "api_key"
    shown: str
    role: Role
    name: str
    created_at: datetime
    last_used: str | None = None


class NewKeyView(KeyView):
    """`api_key` is the key itself. It is told here and never again."""

    api_key: str


class KeyList(View):
    """The oldest first."""

    object: Literal["list"] = "list"
    data: list[KeyView]


class LowerLimits(Strict):
    """What is named is changed; null is what the operator grants. Nothing can be set above that."""

    max_open: _Count | None = Field(None, description="jobs that are not over")
    max_running: _Count | None = Field(None, description="jobs at work at once; a bought one does not count")
    max_running_in: dict[str, _Count | None] | None = Field(None, description="the same of one pool, by its name")
    rate_per_minute: Annotated[float, Field(ge=1, le=1e9)] | None = Field(None, description="submissions")
    external_day_usd: _Dollars | None = Field(None, description="dollars that may be spent at providers in a day")
    external_month_usd: _Dollars | None = Field(None, description="the same in a month")

    @property
    def changes(self) -> dict[str, float | None]:
        """Of the tenant, by the names that they have in its record."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"max_running_in"}}


class LimitsView(View):
    """null: no limit."""

    max_open: int | None
    max_running: int | None
    max_running_in: dict[str, int]
    rate_per_minute: float | None
    external_day_usd: float | None
    external_month_usd: float | None


class TenantView(View):
    """Your own tenant. `limits` hold; `granted` are the operator's, up to which they can be set."""

    id: str
    object: Literal["tenant"] = "tenant"
    name: str
    weight: float
    limits: LimitsView
    granted: LimitsView


def view_limits(limits: TenantLimits) -> LimitsView:
    """As its admin sees them."""
    told: dict[str, Any] = asdict(limits)
    return LimitsView(**told)
