"""What a tenant's people did in the console: one line for each act, the newest kept. (What operators did to the farm is
the ledger's own log, farm.ledger.operations.)

In Redis: `{p}:acts:{tenant}` a stream {who, act, target, done}.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from farm.config import Settings
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys

#: lines that are kept of one tenant
_KEPT = 5000


@dataclass(frozen=True)
class TenantAct:
    """`target`: a job, or the filter whose jobs it was; `done`: how many jobs it changed."""

    id: str
    at_ms: int
    who: str
    act: str
    target: str
    done: int


class Activity:
    """`redis` decodes responses. Every call may raise Unavailable."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis, self._keys = redis, Keys(settings.redis.prefix)

    def note(self, tenant: str, who: str, act: str, target: str, done: int) -> str:
        """Add a line; its id."""
        with mapped():
            line = self._redis.xadd(
                self._keys("acts", tenant),
                {"who": who, "act": act, "target": target, "done": done},
                maxlen=_KEPT,
                approximate=True,
            )
        return str(line)

    def newest(self, tenant: str, *, before: str | None = None, limit: int = 50) -> Sequence[TenantAct]:
        """The newest lines first; before the line `before`."""
        with mapped():
            found = self._redis.xrevrange(self._keys("acts", tenant), max=f"({before}" if before else "+", count=limit)
        return [
            TenantAct(
                id=line,
                at_ms=int(line.partition("-")[0]),
                who=fields["who"],
                act=fields["act"],
                target=fields["target"],
                done=int(fields["done"]),
            )
            for line, fields in cast("list[tuple[str, dict[str, str]]]", found)
        ]
