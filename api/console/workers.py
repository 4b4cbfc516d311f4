"""The page of the workers, for operators: those in trouble first, filtered by state and pool, a page at a time."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from flask import Response, make_response, render_template, request
from werkzeug.datastructures import MultiDict

from api.auth import require
from api.console.blueprint import console, switched_off
from api.console.paging import paging
from api.services import services
from farm.jobs.errors import InvalidRequest
from farm.jobs.roles import Role
from farm.jobs.worker_status import WorkerState
from farm.ledger.workforce import RollCall

#: workers of one page
PAGE = 100
#: those that somebody should look at come first
_ORDER = (
    WorkerState.QUARANTINED,
    WorkerState.BROKEN,
    WorkerState.OUT_OF_SERVICE,
    WorkerState.DRAINING,
    WorkerState.STARTING,
    WorkerState.BUSY,
    WorkerState.IDLE,
)


@dataclass(frozen=True)
class WorkerFilter:
    """Both stand in the address; "": any."""

    state: str = ""
    pool: str = ""

    @classmethod
    def of(cls, given: MultiDict[str, str]) -> Self:
        """From a query string. Raises InvalidRequest for a state that is none."""
        state = given.get("state", "")
        if state and state not in set(WorkerState):
            raise InvalidRequest(f"one of {', '.join(WorkerState)}", "state")
        return cls(state, given.get("pool", ""))

    def query(self, state: str | None = None, pool: str | None = None) -> str:
        """The query string of this filter, with another state or pool."""
        named = {
            "state": self.state if state is None else state,
            "pool": self.pool if pool is None else pool,
        }
        return urlencode({name: value for name, value in named.items() if value})

    def fits(self, one: RollCall) -> bool:
        """Whether a worker is shown."""
        return self.state in ("", one.state) and self.pool in ("", one.pool)


@console.get("/farm/workers")
def workers() -> Response:
    """Live workers: all are listed, and those of the page are read. Raises Forbidden, InvalidRequest."""
    require(Role.OPERATOR)
    ledger, chosen = services().ledger, WorkerFilter.of(request.args)
    every = ledger.roll_call()
    shown, pages = paging(troubled_first(filter(chosen.fits, every)), PAGE)
    page = render_template(
        "console/workers.html",
        workers=ledger.told_by(shown),
        pages=pages,
        chosen=chosen,
        states=counted(one.state for one in every if chosen.pool in ("", one.pool)),
        pools=counted(one.pool for one in every),
        paused=switched_off(),
    )
    return make_response(page)


def troubled_first(found: Iterable[RollCall]) -> list[RollCall]:
    """Quarantined and broken ones, then the rest, by pool and name."""
    return sorted(found, key=lambda one: (_ORDER.index(one.state), one.pool, one.worker))


def counted(words: Iterable[str]) -> Mapping[str, int]:
    """Word -> how often, states in the order of the page, other words by the alphabet."""
    counts = Counter(map(str, words))
    known = [str(state) for state in _ORDER if str(state) in counts]
    return {word: counts[word] for word in [*known, *sorted(set(counts) - set(known))]}
