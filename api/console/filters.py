"""Which jobs a page shows: the filter stands in its address, and what acts on many jobs takes the same filter."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from api.services import services
from farm.jobs.errors import InvalidRequest
from farm.jobs.ids import is_job_id
from farm.jobs.job import Job, Page
from farm.jobs.states import HoldReason, Phase, State

#: word in the address -> what it says on the page
STATES = {
    "": "All",
    "waiting": "Fetching",
    "queued": "Queued",
    "running": "Rendering",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
}
REASONS = {
    "approval": "Needs approval",
    "paused": "Paused",
    "parked": "Parked",
    "dependency": "Waits for another",
    "held": "Held, for any reason",
    "retrying": "Retrying",
    "submit_unknown": "Submit unknown",
}
#: records that one page reads at most while it looks for jobs of a label among those that are held
_READ_PER_PAGE = 2000
_MAX_LABEL = 100


@dataclass(frozen=True)
class JobFilter:
    """`show`: a word of STATES or REASONS. `tiles`: how the page shows them, which changes nothing about which."""

    show: str = ""
    label: str = ""
    tiles: bool = False

    @classmethod
    def of(cls, given: MultiDict[str, str]) -> Self:
        """From a query string or a form. Raises InvalidRequest for a word that is none."""
        show = given.get("show", "")
        if show not in STATES and show not in REASONS:
            raise InvalidRequest(f"one of {', '.join([*STATES, *REASONS][1:])}", "show")
        return cls(show, given.get("label", "")[:_MAX_LABEL], given.get("view") == "tiles")

    def query(self, **changes: str | bool) -> str:
        """The query string of this filter, with changes."""
        other = replace(self, **changes)  # type: ignore[arg-type]
        named = {"show": other.show, "label": other.label, "view": "tiles" if other.tiles else ""}
        return urlencode({name: value for name, value in named.items() if value})

    @property
    def said(self) -> str:
        """For people: "Queued, label teaser"."""
        what = STATES.get(self.show) or REASONS.get(self.show, "")
        return f"{what}, label {self.label}" if self.label else what


def page(tenant: str, chosen: JobFilter, *, cursor: str | None = None, limit: int = 60) -> Page:
    """The tenant's jobs of a filter, newest first; as Ledger.page, it may have fewer and still a cursor."""
    if cursor is not None and not is_job_id(cursor):
        raise InvalidRequest("not the cursor of any page", "cursor")
    ledger, label = services().ledger, chosen.label or None
    if chosen.show == "retrying":
        return ledger.page(
            tenant,
            states=(State.QUEUED, State.RUNNING),
            label=label,
            cursor=cursor,
            limit=limit,
            where=lambda job: job.attempts_used > 0,
        )
    if chosen.show == "submit_unknown":
        return ledger.page(
            tenant,
            states=(State.RUNNING,),
            label=label,
            cursor=cursor,
            limit=limit,
            where=lambda job: job.phase == Phase.SUBMIT_UNKNOWN,
        )
    if chosen.show in REASONS:
        reasons = tuple(HoldReason) if chosen.show == "held" else (HoldReason(chosen.show),)
        return _held(tenant, reasons, label, cursor, limit)
    states = (State(chosen.show),) if chosen.show else ()
    return ledger.page(tenant, states=states, label=label, cursor=cursor, limit=limit)


def _held(tenant: str, reasons: tuple[HoldReason, ...], label: str | None, cursor: str | None, limit: int) -> Page:
    ledger, jobs, read = services().ledger, list[Job](), 0
    while read < _READ_PER_PAGE:
        each = [ledger.held_ids(tenant, reason, after=cursor, limit=limit + 1, newest_first=True) for reason in reasons]
        ids = list(islice(_once(heapq.merge(*each, reverse=True)), limit + 1))
        jobs += [job for job in ledger.find_many(ids) if job is not None and label in (None, job.label)]
        if len(jobs) > limit:
            return Page(tuple(jobs[:limit]), jobs[limit - 1].id)
        if len(ids) <= limit:
            return Page(tuple(jobs), None)
        cursor, read = ids[-1], read + len(ids)
    return Page(tuple(jobs), cursor)


def _once(ids: Iterator[str]) -> Iterator[str]:
    """A job with two reasons stands in two lists, at the same place."""
    last = ""
    for one in ids:
        if one != last:
            yield one
        last = one


def counts(tenant: str, label: str = "") -> dict[str, int]:
    """Word of a filter -> how many jobs it shows, for those that can be counted without reading them."""
    ledger = services().ledger
    states = ledger.counts(tenant, label=label or None)
    found = {"": sum(states.values()), **{state.value: count for state, count in states.items()}}
    if not label:
        found |= {reason.value: count for reason, count in ledger.held_counts(tenant).items()}
    return found
