"""What an operator asks and is answered, in the farm's own JSON. Pure."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from farm.wire.own import Strict
from farm.wire.own_explain import ExternalView
from farm.wire.own_views import Pausable, PauseView, View

#: kept in the log of operators' acts
Why = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    Field(description="kept in the log of what operators did"),
]


class AskPause(Strict):
    """What is paused or resumed. A lane may also be a model's id: all of its lanes. A paused worker takes no
    more jobs."""

    kind: Pausable
    name: str = Field(min_length=1, max_length=200, pattern=r"^\S+$")
    why: Why


class AskTier(Strict):
    """Move a job to a tier."""

    tier: Literal["urgent", "normal"]
    why: Why


class AskMove(Strict):
    """Move a job to another pool."""

    pool: str = Field(min_length=1, max_length=200, pattern=r"^\S+$")
    why: Why


class AskWhy(Strict):
    """An act that wants no more than a reason."""

    why: Why


class PauseList(View):
    """All that is paused now."""

    object: Literal["list"] = "list"
    data: list[PauseView]


class ActView(View):
    """`changed` is false where it was so already."""

    changed: bool


class OperationView(View):
    """A line of the log, which only grows."""

    id: str
    at: datetime
    who: str
    why: str
    act: str
    target: str
    before: str
    after: str


class OperationList(View):
    """Newest first. `next_cursor` continues after the last one, null at the end."""

    object: Literal["list"] = "list"
    data: list[OperationView]
    next_cursor: str | None = None


class DecisionView(ExternalView):
    """What was decided about buying a job, and with which numbers. `tenant` is null once the job is forgotten."""

    id: str
    at: datetime
    job: str
    tenant: str | None = None


class DecisionList(View):
    """Newest first. `next_cursor` continues after the last one, null at the end."""

    object: Literal["list"] = "list"
    data: list[DecisionView]
    next_cursor: str | None = None
