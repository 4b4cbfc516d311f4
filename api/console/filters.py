"""Which jobs a page shows: the filter stands in its address, and what acts on many jobs takes the same filter."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from api.services import services
from farm.jobs.batch import Batch, is_batch_id
from farm.jobs.errors import InvalidRequest, NotFound
from farm.jobs.ids import is_job_id
from farm.jobs.job import Job, Page
from farm.jobs.states import OPEN, HoldReason, Phase, State

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
_MAX_LABEL = 100


@dataclass(frozen=True)
class JobFilter:
    """`show`: a word of STATES or REASONS. `batch`: its jobs, the first line first. `tiles`: how the page shows them,
    which changes nothing about which."""

    show: str = ""
    label: str = ""
    batch: str = ""
    tiles: bool = False

    @classmethod
    def of(cls, given: MultiDict[str, str]) -> Self:
        """From a query string or a form. Raises InvalidRequest for a word that is none."""
        show = given.get("show", "")
        if show not in STATES and show not in REASONS:
            raise InvalidRequest(f"one of {', '.join([*STATES, *REASONS][1:])}", "show")
        batch = given.get("batch", "")
        if batch and not is_batch_id(batch):
            raise NotFound("no such batch")
        return cls(show, given.get("label", "")[:_MAX_LABEL], batch, given.get("view") == "tiles")

    def query(self, **changes: str | bool) -> str:
        """The query string of this filter, with changes."""
        other = replace(self, **changes)  # type: ignore[arg-type]
        named = {"show": other.show, "label": other.label, "batch": other.batch, "view": "tiles" if other.tiles else ""}
        return urlencode({name: value for name, value in named.items() if value})

    def said(self, batch: Batch | None) -> str:
        """The filter in words, for people: "Queued, label teaser". batch: the one that it names."""
        what = STATES.get(self.show) or REASONS.get(self.show, "")
        within = [f"label {self.label}"] if self.label else []
        within += [f"batch {batch.name or batch.id}"] if batch is not None else []
        return ", ".join([what, *within])

    @property
    def fits(self) -> Callable[[Job], bool]:
        """Whether a job of the states that are looked through belongs to it."""
        if self.show == "retrying":
            return lambda job: job.attempts_used > 0
        if self.show == "submit_unknown":
            return lambda job: job.phase == Phase.SUBMIT_UNKNOWN
        if self.show == "held":
            return lambda job: bool(job.held_for)
        if self.show in REASONS:
            return lambda job: self.show in job.held_for
        return lambda job: True

    @property
    def states(self) -> tuple[State, ...]:
        """States in which its jobs can be; (): in any."""
        if self.show in REASONS:
            return (State.RUNNING,) if self.show == "submit_unknown" else tuple(sorted(OPEN))
        return (State(self.show),) if self.show else ()


def page(tenant: str, chosen: JobFilter, *, cursor: str | None = None, limit: int = 60) -> Page:
    """The tenant's jobs of a filter, newest first; as Ledger.page, it may have fewer and still a cursor."""
    if cursor is not None and not is_job_id(cursor):
        raise InvalidRequest("not the cursor of any page", "cursor")
    pauses = services().pauses
    # what operators keep stands among all others
    kept = chosen.show in ("paused", "held") and pauses.over(tenant, chosen.batch or None)
    listed = chosen.show in REASONS and chosen.show not in ("retrying", "submit_unknown") and not kept
    if listed and not chosen.label + chosen.batch:
        # they stand in a list of their own
        reasons = tuple(HoldReason) if chosen.show == "held" else (HoldReason(chosen.show),)
        return _held(tenant, reasons, cursor, limit)
    label = None if chosen.batch else chosen.label or None

    def fits(job: Job) -> bool:
        return chosen.fits(pauses.told(job)) and chosen.label in ("", job.label)

    return services().ledger.page(
        tenant,
        states=chosen.states,
        label=label,
        batch=chosen.batch or None,
        cursor=cursor,
        limit=limit,
        oldest_first=bool(chosen.batch),
        where=fits,
    )


def _held(tenant: str, reasons: tuple[HoldReason, ...], cursor: str | None, limit: int) -> Page:
    ledger, jobs = services().ledger, list[Job]()
    while True:
        each = [ledger.held_ids(tenant, reason, after=cursor, limit=limit + 1, newest_first=True) for reason in reasons]
        ids = list(islice(_once(heapq.merge(*each, reverse=True)), limit + 1))
        # one may have been released between the two reads
        jobs += [job for job in ledger.find_many(ids) if job is not None]
        if len(jobs) > limit:
            return Page(tuple(jobs[:limit]), jobs[limit - 1].id)
        if len(ids) <= limit:
            return Page(tuple(jobs), None)
        cursor = ids[-1]


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
    return _countable(found, tenant)


def counts_of(batch: Batch) -> dict[str, int]:
    """Word of STATES or REASONS -> how many jobs of the batch it shows."""
    found = {"": batch.jobs} | {str(word): count for word, count in (*batch.counts.items(), *batch.held_for.items())}
    return _countable(found, batch.tenant, batch.id)


def _countable(found: dict[str, int], tenant: str, batch: str | None = None) -> dict[str, int]:
    """Without the number of paused jobs where an operator paused something: those jobs are not counted."""
    if services().pauses.over(tenant, batch):
        found.pop(HoldReason.PAUSED.value, None)
    return found
