"""Batches: admitted whole or not at all, by way of a log.

An intent holds the credit, chunks of jobs are staged, one write admits the batch, and then its chunks are placed in the
queues. A crash before that write leaves a staging that `drop_batch` removes; after it, any process goes on with
`place_chunk`. No call takes long, whatever the batch's size.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from farm.jobs.batch import AskedBatch, Batch, BatchState, NewBatch
from farm.jobs.errors import Conflict
from farm.jobs.states import HoldReason, State
from farm.ledger.connection import mapped
from farm.ledger.outcomes import Permit
from farm.ledger.refusals import refusal, too_large
from farm.ledger.scripts import Scripted
from farm.ledger.workforce import permits


class BatchTransitions(Scripted):
    """Every call may be repeated. Raises Unavailable."""

    def begin_batch(self, new: NewBatch) -> str:
        """Hold the credit of a batch that is about to be staged. The id of the batch that came with its idempotency
        key before, or its own. Raises as Ledger.admit does."""
        data = json.dumps(dict(new.data), separators=(",", ":"), ensure_ascii=False)
        verdict, *details = self.run_in_time(
            "batch_begin",
            *(new.id, new.tenant, new.jobs, new.hold, new.idempotency_key or "", new.body_sha256, new.name),
            *(round(1000 * new.gpu_s), data, "" if new.priced else "1"),
            patience_s=self._in_time_s,
            durable=True,
        )
        if verdict == "known":
            return str(details[0])
        if verdict == "too_many" and new.jobs > details[1]:
            raise too_large(new.jobs, details[1])
        if verdict != "ok":
            raise refusal(verdict, details)
        return new.id

    def stage_chunk(self, batch_id: str, number: int, chunk: str) -> bool:
        """Keep a chunk (farm.ledger.batch_chunks), counted from 1. False: the batch is not staged any more."""
        return bool(self.run("batch_stage", batch_id, number, chunk))

    def flip_batch(self, batch_id: str, chunks: int) -> str:
        """Admit the batch, of which so many chunks were staged. Its id, or that of the one that came with its key
        meanwhile (then this one is to be dropped). Raises Conflict where its staging is gone, its owner cancelled
        it, or its key came with another request meanwhile."""
        verdict, *details = self.run("batch_flip", batch_id, chunks, durable=True)
        if verdict == "conflict":
            raise refusal(verdict, details)
        if verdict == "gone":
            raise Conflict("the batch was given up while it was admitted; send it again")
        return str(details[0]) if verdict == "known" else batch_id

    def place_chunk(self, batch_id: str) -> tuple[int, list[Permit]]:
        """Put the next chunk into the queues; how many are left."""
        left, wanted = self.run("batch_place", batch_id)
        return int(left), permits(wanted)

    def drop_batch(self, batch_id: str, *, untouched_s: float | None = None) -> bool:
        """Remove a batch that was not admitted; with `untouched_s` unless somebody staged of it since."""
        since = "" if untouched_s is None else int(1000 * untouched_s)
        return bool(self.run("batch_drop", batch_id, since, durable=True))

    def batches_coming(self) -> list[tuple[str, BatchState | None, float]]:
        """Those that are staged or placed: id, state, seconds since that was last worked on."""
        now_ms = int(self.run("now"))
        with mapped():
            found = cast(
                "list[tuple[str, float]]", self._redis.zrange(self._keys("batches_coming"), 0, 999, withscores=True)
            )
            states = [cast("str | None", self._redis.hget(self._keys("batch", one), "state")) for one, _ in found]
        return [
            (one, BatchState(state) if state else None, max(0.0, (now_ms - at) / 1000))
            for (one, at), state in zip(found, states, strict=True)
        ]

    def known_batch(self, tenant: str, idempotency_key: str) -> tuple[str, str] | None:
        """(id, body_sha256) of the batch that came with this key in the last 24 h. Only begin and flip decide."""
        with mapped():
            known = self._redis.get(self._keys("batch_idem", tenant, idempotency_key))
            if not isinstance(known, str):
                return None
            batch_id, _, body_sha256 = known.partition(" ")
            there = self._redis.exists(self._keys("batch", batch_id), self._keys("batch_asked", batch_id))
            return (batch_id, body_sha256) if there else None

    def ask_batch(self, asked: AskedBatch, *, idempotency_key: str | None = None, body_sha256: str = "") -> str:
        """Keep it until somebody has looked at its file, and then as long as its batch. The id of the batch that came
        with its idempotency key before, or its own. Raises Conflict when that came with another request."""
        text, window_s = json.dumps(asdict(asked)), asked.expires_s - asked.created_s
        key = (idempotency_key or "", body_sha256)
        verdict, *details = self.run("batch_ask", asked.id, asked.tenant, text, window_s, *key, durable=True)
        if verdict == "conflict":
            raise refusal(verdict, details)
        return str(details[0]) if verdict == "known" else asked.id

    def answer_batch(self, asked: AskedBatch) -> bool:
        """Keep what became of it; False where it was answered already."""
        return bool(self.run("batch_answer", asked.id, json.dumps(asdict(asked)), durable=True))

    def batches_asked(self, limit: int = 1000) -> list[str]:
        """Ids of those whose file is to be looked at, the oldest first."""
        with mapped():
            return cast("list[str]", self._redis.zrange(self._keys("batches_asked"), 0, limit - 1))

    def asked(self, batch_ids: Sequence[str]) -> list[AskedBatch | None]:
        """The request for each of these batches, whichever tenant made it; None for one that is not there (any
        more)."""
        if not batch_ids:
            return []
        with mapped():
            texts = self._redis.mget([self._keys("batch_asked", one) for one in batch_ids])
        return [_asked(text) for text in cast("list[str | None]", texts)]

    def batch(self, tenant: str, batch_id: str) -> Batch | None:
        """The batch; None when there is none of this id, or when it is another tenant's."""
        return self.batches(tenant, [batch_id])[0]

    def batches(self, tenant: str, batch_ids: Sequence[str]) -> list[Batch | None]:
        """In the order asked for, as of one moment."""
        return [_batch(one) for one in self.run("batch_read", tenant, *batch_ids)] if batch_ids else []

    def batch_ids(self, tenant: str, *, after: str | None = None, limit: int) -> list[str]:
        """The tenant's batches, newest first, behind the id `after`."""
        with mapped():
            key = self._keys("batches", tenant)
            found = self._redis.zrevrangebylex(key, f"({after}" if after else "+", "-", start=0, num=limit)
        return cast("list[str]", found)


def _asked(text: str | None) -> AskedBatch | None:
    if text is None:
        return None
    found = json.loads(text)
    return AskedBatch(**{**found, "errors": tuple(found["errors"])})


def _batch(answer: Any) -> Batch | None:
    if not answer:
        return None
    batch_id, pairs, sizes, held = answer
    record = dict(zip(pairs[::2], pairs[1::2], strict=True))
    counts = dict(zip(State, map(int, sizes), strict=True))
    jobs, state = int(record["jobs"]), BatchState(record["state"])
    if state is BatchState.PLACING:
        counts[State.QUEUED] += jobs - sum(counts.values())
    return Batch(
        id=batch_id,
        tenant=record["tenant"],
        state=state,
        jobs=jobs,
        counts=counts,
        held_for={reason: int(count) for reason, count in zip(HoldReason, held, strict=True) if count},
        hold=int(record["hold"]),
        held=int(record["held"]),
        spent=int(record["spent"]),
        gpu_s=int(record["gpu_ms"]) / 1000,
        gpu_s_over=int(record["gpu_ms_over"]) / 1000,
        created_ms=int(record["created_ms"]),
        ended_ms=int(record["ended_ms"]) if state is BatchState.ENDED else None,
        cancelling_ms=int(record["cancelling_ms"]) if "cancelling_ms" in record else None,
        name=record["name"],
        data=json.loads(record["data"]),
    )
