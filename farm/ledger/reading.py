"""Reading the ledger. Nothing here writes."""

import heapq
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, cast

from redis.exceptions import ResponseError

from farm.jobs.ids import is_job_id
from farm.jobs.job import Job, JobEvent, Page
from farm.jobs.states import HoldReason, State, Tier
from farm.ledger.connection import mapped, stream_entries
from farm.ledger.outcomes import SwitchKind
from farm.ledger.records import decode
from farm.ledger.scripts import Scripted, tier_line

#: records that one page reads at most while it looks for jobs of a model or a dialect; then it answers with fewer
_READ_PER_PAGE = 2000
#: tenants whose jobs one script call counts
_COUNTED_AT_ONCE = 200
#: ended jobs that one script call reads
_ENDED_AT_ONCE = 200
#: one blocking read of a stream; shorter than any sensible socket timeout
_SLICE_MS = 1000


class Reading(Scripted):
    """Every call raises Unavailable."""

    def get(self, tenant: str, job_id: str) -> Job | None:
        """A job of the tenant. None when there is none of this id, also when it is another tenant's."""
        job = self.find(job_id)
        return job if job is not None and job.tenant == tenant else None

    def find(self, job_id: str) -> Job | None:
        """A job of any tenant, for the farm itself; None when there is none of this id."""
        return self.find_many([job_id])[0]

    def find_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """The jobs of these ids in their order, as of one moment; None for each that is not there. Some hundreds at
        most: it is one call."""
        known = [job_id for job_id in job_ids if is_job_id(job_id)]
        if not known:
            return [None] * len(job_ids)
        found = {answer[0]: decode(answer) for answer in self.run("read", *known) if answer}
        return [found.get(job_id) for job_id in job_ids]

    def known_key(self, tenant: str, idempotency_key: str) -> tuple[str, str] | None:
        """(job id, body_sha256) of the job that came with this key in the last 24 h. Only admit decides; this spares a
        repeated request the work before it."""
        with mapped():
            known = self._redis.get(self._keys("idem", tenant, idempotency_key))
        if not isinstance(known, str):
            return None
        job_id, _, body_sha256 = known.partition(" ")
        with mapped():
            # a job that was forgotten meanwhile has freed its key
            return (job_id, body_sha256) if self._redis.exists(self._keys("job", job_id)) else None

    def page(
        self,
        tenant: str,
        *,
        states: Collection[State] = (),
        model: str | None = None,
        label: str | None = None,
        dialect: str | None = None,
        batch: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
        oldest_first: bool = False,
        where: Callable[[Job], bool] = lambda job: True,
    ) -> Page:
        """Newest first, unless told otherwise; of a label, of a dialect (not the farm's own) or of a batch. With
        `model` or `where` a page can have fewer jobs than `limit` and still a cursor. The cursor is a place: its job
        may be gone. One that is no job id is the beginning."""
        wanted = frozenset(states or State)
        after = cursor if cursor is not None and is_job_id(cursor) else None
        jobs: list[Job] = []
        read = 0
        while read < _READ_PER_PAGE:
            # one more than asked for shows whether there is a next page
            ids = self.ids(
                tenant,
                states=wanted,
                label=label,
                dialect=dialect,
                batch=batch,
                after=after,
                limit=limit + 1,
                oldest_first=oldest_first,
            )
            for job in self.find_many(ids):
                # a job can move on or be forgotten between the two reads
                fits = job is not None and job.state in wanted and (model is None or job.spec.model == model)
                if job is not None and fits and where(job):
                    jobs.append(job)
            if len(jobs) > limit:
                return Page(tuple(jobs[:limit]), jobs[limit - 1].id)
            if len(ids) <= limit:
                return Page(tuple(jobs), None)
            after, read = ids[-1], read + len(ids)
        return Page(tuple(jobs), after)

    def ids(
        self,
        tenant: str,
        *,
        states: Collection[State] = (),
        label: str | None = None,
        dialect: str | None = None,
        batch: str | None = None,
        after: str | None = None,
        limit: int,
        oldest_first: bool = False,
    ) -> list[str]:
        """The next ids behind `after`, as of one moment. Arguments as of page."""
        order = "asc" if oldest_first else "desc"
        listing = _listing(label, dialect, batch)
        each = self.run("newest", tenant, *listing, after or "", order, limit, *(frozenset(states) or State))
        return list(islice(heapq.merge(*each, reverse=not oldest_first), limit))

    def ended_between(self, from_ms: int, to_ms: int) -> Iterator[Job]:
        """Jobs of all tenants that ended in [from_ms, to_ms), ms since the epoch, the earliest first."""
        with mapped():
            ids = cast("list[str]", self._redis.zrangebyscore(self._keys("ended"), from_ms, f"({to_ms}"))
        for at in range(0, len(ids), _ENDED_AT_ONCE):
            yield from (job for job in self.find_many(ids[at : at + _ENDED_AT_ONCE]) if job is not None)

    def position(self, job: Job) -> int | None:
        """How many jobs of its own tenant stand before a queued job (0: next); None when it is not queued, or delayed
        until a retry."""
        if job.state is not State.QUEUED:
            return None
        tiers = list(Tier)
        lines = [tier_line(job.pool, tier) for tier in tiers[: tiers.index(job.tier) + 1]]
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            for line in lines:
                pipe.zcard(self._keys("queue", line, job.tenant))
            pipe.zrank(self._keys("queue", lines[-1], job.tenant), job.id)
            *sizes, rank = pipe.execute()
        return None if rank is None else sum(sizes[:-1]) + int(rank)

    def counts(
        self, tenant: str | None = None, *, label: str | None = None, dialect: str | None = None
    ) -> dict[State, int]:
        """Jobs per state: the tenant's, those of one label or of one dialect's lists, or everybody's."""
        with mapped():
            owners = [tenant] if tenant else sorted(cast("set[str]", self._redis.smembers(self._keys("owners"))))
        sizes: list[int] = []
        for at in range(0, len(owners), _COUNTED_AT_ONCE):
            sizes += self.run("counts", *_listing(label, dialect), *owners[at : at + _COUNTED_AT_ONCE])
        states = list(State)
        return {state: sum(sizes[n :: len(states)]) for n, state in enumerate(states)}

    def held_counts(self, tenant: str) -> dict[HoldReason, int]:
        """The tenant's open jobs per reason that they are held for; one with two reasons counts twice. They are among
        those of `counts` as well."""
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            for reason in HoldReason:
                pipe.zcard(self._keys("holds", tenant, reason))
            return dict(zip(HoldReason, pipe.execute(), strict=True))

    def held_ids(
        self,
        tenant: str,
        reason: HoldReason,
        *,
        after: str | None = None,
        limit: int = 500,
        newest_first: bool = False,
    ) -> list[str]:
        """Ids of the tenant's open jobs that have `reason`, the oldest first unless told otherwise; after the id
        `after`."""
        key, place = self._keys("holds", tenant, reason), f"({after}" if after else None
        with mapped():
            if newest_first:
                found = self._redis.zrevrangebylex(key, place or "+", "-", start=0, num=limit)
            else:
                found = self._redis.zrangebylex(key, place or "-", "+", start=0, num=limit)
        return cast("list[str]", found)

    def any_queued(self, tenant: str, kind: SwitchKind, name: str, *, batch: str | None = None) -> bool:
        """Whether a queued job of the tenant, or of its batch, is of this pool or lane (or model: all its lanes). Read
        in pieces: where none is, all of its queued jobs were looked at."""
        listing, last = _listing(None, None, batch), ""
        while True:
            found, last = self.run("any_queued", tenant, *listing, kind, name, last)
            if found or not last:
                return bool(found)

    def standing_still(self, pool: str) -> int:
        """How many jobs of the pool are held: they wait for a reason to be removed, not for a worker."""
        with mapped():
            return int(self._redis.zcard(self._keys("held", pool)))

    # --- events
    @staticmethod
    def stream_of(job: Job) -> str:
        """Where a job's events are: in its tenant's stream, or in its batch's."""
        return job.tenant if job.batch is None else f"{job.tenant}!{job.batch}"

    def events(
        self, stream: str, *, after: str, job_id: str | None = None, block_ms: int = 0, count: int = 100
    ) -> list[JobEvent]:
        """Events of a tenant, or of stream_of, after the id `after` ("0" from the oldest kept, "$" only new ones).
        Blocks up to block_ms."""
        if after == "$":
            after = self.last_event_id(stream)
        end = time.monotonic() + block_ms / 1000
        while True:
            left_ms = max(0, int((end - time.monotonic()) * 1000))
            entries = self._entries(self._keys("events", stream), after, min(left_ms, _SLICE_MS), count)
            found = [
                JobEvent(entry_id, fields["job"], json.loads(fields["data"]))
                for entry_id, fields in entries
                if job_id is None or fields["job"] == job_id
            ]
            if found or (not entries and left_ms == 0):
                return found
            if entries:
                after = entries[-1][0]

    def _entries(self, key: str, after: str, block_ms: int, count: int) -> list[tuple[str, dict[str, str]]]:
        with mapped():
            return stream_entries(self._redis.xread({key: after}, count=count, block=block_ms or None))

    def events_missed(self, stream: str, after: str) -> bool:
        """Whether events after the id `after` are no longer kept, or the id is of a stream that is no more (a ledger
        that was lost). Sometimes true when the last one before the oldest kept was seen, never false for a gap."""
        with mapped():
            try:
                info = self._redis.xinfo_stream(self._keys("events", stream))
            except ResponseError:
                # no event yet, or none any more
                return _order(after) > (0, 0)
        if _order(after) > _order(str(info["last-generated-id"])):
            return True
        oldest, length = info.get("first-entry"), int(info["length"])
        trimmed = int(info.get("entries-added", length + 1)) > length
        return trimmed and (oldest is None or _order(after) < _order(str(oldest[0])))

    def last_event_id(self, stream: str) -> str:
        """The id of the stream's newest event; "0-0" before the first."""
        with mapped():
            newest = cast("list[Any]", self._redis.xrevrange(self._keys("events", stream), count=1))
        return str(newest[0][0]) if newest else "0-0"


def _order(event_id: str) -> tuple[int, int]:
    """Ids of a stream in their order; "ms" alone is "ms-0"."""
    ms, _, number = event_id.partition("-")
    return int(ms), int(number or 0)


def _listing(label: str | None, dialect: str | None, batch: str | None = None) -> tuple[str, str]:
    """(kind, name) of the index (lib/listing.lua)."""
    if batch is not None:
        return "batch", batch
    if label is not None:
        return "label", label
    return ("dialect", dialect) if dialect is not None else ("", "")
