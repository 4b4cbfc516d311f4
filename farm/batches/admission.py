"""Batches come in: planned whole, then staged, admitted in one write, and placed. A crash before that write leaves what
`Keeper` removes, one after it what `Keeper` finishes."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import uuid_utils

from farm.batches.chains import Chains
from farm.batches.plan_file import PlanFile
from farm.batches.planner import Planner
from farm.config import Settings
from farm.jobs.batch import NewBatch
from farm.jobs.errors import Conflict, FarmError, Unavailable
from farm.jobs.states import HoldReason
from farm.ledger import Ledger
from farm.ledger.batch_chunks import ChunkWriter
from farm.ledger.outcomes import PermitPublisher
from farm.ledger.refusals import other_request
from farm.submission.submit import Submissions
from monitoring.metrics import BATCH_SHOTS

log = logging.getLogger(__name__)

#: s that the request which admits a batch goes on with its placing
AT_ONCE_S = 1.0


def new_batch_id() -> str:
    """A new id; ids sort by the time they were made."""
    return f"batch_{uuid.UUID(str(uuid_utils.uuid7())).hex}"


@dataclass
class Planned:
    """A manifest that was checked and priced. Close its `file`."""

    shots: int
    file: PlanFile
    chains: Chains


@dataclass(frozen=True)
class Came:
    """The batch of a request. `created` is False when its idempotency key came with the same body before."""

    id: str
    created: bool


class BatchAdmission:
    """One per process; threads may share it. `at_once_s`: what is not placed by then, a thread of its own places."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        submissions: Submissions,
        permits: PermitPublisher,
        *,
        at_once_s: float = AT_ONCE_S,
    ) -> None:
        self._settings, self._ledger = settings, ledger
        self._submissions, self._permits = submissions, permits
        self._at_once_s = at_once_s

    def known(self, tenant: str, key: str | None, sha256: str) -> str | None:
        """The batch that came with this key before. Raises Conflict when it came with another body."""
        found = None if key is None else self._ledger.known_batch(tenant, key)
        if found is not None and found[1] != sha256:
            raise other_request()
        return None if found is None else found[0]

    def plan(self, tenant: str, manifest: BinaryIO, media: str, defaults: Mapping[str, Any], takes: int) -> Planned:
        """Check and price every line; nothing is stored. Raises BadManifest, Forbidden, Unavailable."""
        self._submissions.check_room(tenant)
        planner = Planner(self._settings, self._submissions, tenant, defaults, takes)
        file = planner.read(manifest, media)
        return Planned(planner.shots, file, planner.chains)

    def admit(
        self,
        tenant: str,
        planned: Planned,
        *,
        batch_id: str | None = None,
        name: str = "",
        key: str | None = None,
        sha256: str = "",
        hold_after: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Came:
        """All of it or nothing. Its jobs are in their queues at once, or soon: a large one is `placing` for a while.
        Raises Conflict, TooMany, PaymentRequired, Unavailable."""
        file, size = planned.file, self._settings.batches.chunk
        new = NewBatch(
            id=batch_id or new_batch_id(),
            tenant=tenant,
            jobs=file.jobs,
            hold=file.hold,
            priced=file.priced,
            gpu_s=file.gpu_s,
            name=name,
            idempotency_key=key,
            body_sha256=sha256,
            data=data or {},
        )
        first = self._ledger.begin_batch(new)
        if first != new.id:
            return Came(first, created=False)
        try:
            staged = 0
            for staged, chunk in enumerate(_chunks(planned, size, hold_after), 1):
                if not self._ledger.stage_chunk(new.id, staged, chunk):
                    raise Conflict("the batch was given up while it was admitted; send it again")
            first = self._ledger.flip_batch(new.id, staged)
        except FarmError:
            self._drop(new.id)
            raise
        if first != new.id:
            self._drop(new.id)
            return Came(first, created=False)
        BATCH_SHOTS.inc(new.jobs)
        self._place(new.id)
        return Came(new.id, created=True)

    def _drop(self, batch_id: str) -> None:
        try:
            self._ledger.drop_batch(batch_id)
        except Unavailable as error:
            log.warning("the staging of %s is left to housekeeping: %s", batch_id, error)

    def _place(self, batch_id: str) -> None:
        """It is admitted: should this fail, housekeeping goes on."""
        if not self._placed(batch_id, self._at_once_s):
            threading.Thread(target=self._placed, args=(batch_id, None), name=f"place {batch_id}", daemon=True).start()

    def _placed(self, batch_id: str, seconds: float | None) -> bool:
        """Whether there is nothing left to do here."""
        try:
            return place(self._ledger, self._permits, batch_id, seconds=seconds)
        except Unavailable as error:
            log.warning("the placing of %s is left to housekeeping: %s", batch_id, error)
            return True


def place(
    ledger: Ledger,
    permits: PermitPublisher,
    batch_id: str,
    *,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Put what is left of an admitted batch into the queues, for so long, and one chunk at least; None: all of it.
    Whether nothing is left. Raises Unavailable."""
    end = None if seconds is None else clock() + seconds
    while True:
        left, wanted = ledger.place_chunk(batch_id)
        permits.publish(wanted)
        if not left or (end is not None and clock() >= end):
            return not left


def _chunks(planned: Planned, size: int, hold_after: int | None) -> Iterator[str]:
    writer, line, shots = ChunkWriter(), 0, 0
    for job in planned.file:
        if job.line != line:
            line, shots = job.line, shots + 1
        spec = job.spec
        parents, first = planned.chains.parents_of(job.line, job.take)
        if first is not None:
            inputs = spec.get("inputs", job.kind.inputs)
            spec = {**spec, "inputs": {**inputs, "image": {"last_frame_of": first}}}
        held = HoldReason.APPROVAL if hold_after is not None and shots > hold_after else None
        writer.add(
            job.kind, job.id, job.kind.body(spec, job.more), parents=parents, orphan_runs=job.orphan_runs, held_for=held
        )
        if writer.weight >= size:
            yield writer.take()
    if len(writer):
        yield writer.take()
