"""Between the vocabulary (NewJob, Job) and what Redis keeps: the arguments of admit, the answers of lib/read.lua."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from farm.jobs.job import Artifacts, Job, NewJob, Reshaped
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import HoldReason, State, Tier

#: the dialect of the farm's own API
OWN = "farm"
#: deadlines are part of a queue's score, below the priority (lib/queue.lua)
_MAX_DEADLINE_MS = 2**42 - 2
#: a job charges at least this to its tenant's share, so that no claim is free
_MIN_PREDICTED_S = 0.001


def admission(job: NewJob) -> list[str | int | float]:
    """The twenty arguments of one job for admit.lua. Raises ValueError on values that no ledger could keep."""
    if not 0 <= job.priority <= 9:
        raise ValueError(f"priority {job.priority} is not in 0..9")
    if job.hold is not None and job.hold < 0:
        raise ValueError(f"hold {job.hold} is negative")
    if job.tier is Tier.ECONOMY and job.deadline_ms is None:
        raise ValueError("an economy job without a completion window")
    state = State.WAITING if job.spec.needs_intake else State.QUEUED
    deadline, start_by = _deadline(job.deadline_ms), _deadline(job.start_by_ms)
    return [
        *(job.id, job.tenant, state, job.pool, job.lane),
        *(job.priority, "" if deadline is None else deadline, _predicted(job.predicted_s), job.max_attempts),
        *("" if job.hold is None else job.hold, "1" if job.webhook_url else "", job.label or ""),
        *(job.idempotency_key or "", job.body_sha256 or "", job.needs, reasons_text(job.held_for)),
        # the farm's own lists show every job
        "" if job.dialect == OWN else job.dialect,
        *(job.tier, "" if start_by is None else start_by, _dumps(body_json(job))),
    ]


def reasons_text(reasons: Iterable[HoldReason]) -> str:
    """The reasons as one text, in the order and form in which lib/queue.lua keeps them."""
    return " ".join(sorted(set(reasons)))


def body_json(job: NewJob) -> dict[str, Any]:
    """What no script reads of a job, as JSON values."""
    body: dict[str, Any] = {"spec": spec_json(job.spec), "wall_s": job.wall_s}
    optional = {
        "dialect": job.dialect,
        "dialect_data": dict(job.dialect_data),
        "name": job.name,
        "metadata": dict(job.metadata),
        "webhook_url": job.webhook_url,
        "external": job.external,
        "seed_given": job.seed_given,
        "shot": job.shot,
    }
    return body | {name: value for name, value in optional.items() if value}


def spec_json(spec: JobSpec) -> dict[str, Any]:
    """Like spec.to_json(), without what is empty: a million queued jobs are kept in memory."""
    plain = {name: value for name, value in vars(spec).items() if value is not None and value not in ({}, ())}
    if spec.inputs:
        plain["inputs"] = inputs_json(spec.inputs)
    plain.setdefault("guidance_2", None)
    return plain


def inputs_json(inputs: Mapping[str, InputRef]) -> dict[str, Any]:
    """Input references as JSON values, by role, without what is not set."""
    return {
        role: {name: value for name, value in vars(ref).items() if value not in (None, ())}
        for role, ref in inputs.items()
    }


def with_inputs(body: str, inputs: Mapping[str, InputRef], reshaped: Reshaped | None = None) -> str:
    """The body of a job whose inputs are stored now, and whose shape is final."""
    plain = json.loads(body)
    plain["spec"]["inputs"] = inputs_json(inputs)
    for name in ("picture_area", "length_of"):
        plain["spec"].pop(name, None)
    if reshaped is not None:
        plain["spec"] |= {name: getattr(reshaped, name) for name in ("width", "height", "frames", "fps")}
        plain["wall_s"] = reshaped.wall_s
    return _dumps(plain)


def reshaping(reshaped: Reshaped | None) -> list[str | int | float]:
    """The arguments of intake_done.lua that follow from a shape; '' for what stays."""
    if reshaped is None:
        return ["", "", ""]
    hold = "" if reshaped.hold is None else reshaped.hold
    return [_predicted(reshaped.predicted_s), reshaped.needs, hold]


def artifacts_json(artifacts: Artifacts) -> str:
    """Artifacts as the JSON text that the ledger keeps."""
    return _dumps(asdict(artifacts))


def _dumps(plain: Any) -> str:
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def fresh(job: NewJob, now_ms: int, position: int | None) -> Job:
    """What decode would make of a job that was admitted just now."""
    queued = not job.spec.needs_intake
    return Job(
        id=job.id,
        tenant=job.tenant,
        state=State.QUEUED if queued else State.WAITING,
        spec=job.spec,
        pool=job.pool,
        lane=job.lane,
        priority=job.priority,
        deadline_ms=_deadline(job.deadline_ms),
        predicted_s=_predicted(job.predicted_s),
        wall_s=job.wall_s,
        max_attempts=job.max_attempts,
        created_ms=now_ms,
        queued_ms=now_ms if queued else None,
        started_ms=None,
        finished_ms=None,
        not_before_ms=None,
        lease_until_ms=None,
        attempt=0,
        attempts_used=0,
        worker_losses=0,
        worker=None,
        phase=None,
        progress=0.0,
        step=0,
        steps=0,
        cancelling=False,
        error_code=None,
        error_message=None,
        artifacts=None,
        hold=job.hold,
        charged=None,
        dialect=job.dialect,
        dialect_data=job.dialect_data,
        name=job.name,
        metadata=job.metadata,
        webhook_url=job.webhook_url,
        label=job.label,
        external=job.external,
        seed_given=job.seed_given,
        position=position if queued else None,
        held_for=tuple(sorted(set(job.held_for))),
        held_ms=now_ms if job.held_for else None,
        tier=job.tier,
        start_by_ms=_deadline(job.start_by_ms),
        expires_ms=_deadline(job.deadline_ms) if job.tier is Tier.ECONOMY else None,
        needs=job.needs,
    )


def _deadline(deadline_ms: int | None) -> int | None:
    return None if deadline_ms is None else max(0, min(deadline_ms, _MAX_DEADLINE_MS))


def _predicted(predicted_s: float) -> float:
    return max(_MIN_PREDICTED_S, min(float(predicted_s), 1e9))


def decode(answer: Sequence[Any]) -> Job:
    """A Job from lib/read.lua's {id, record, body, result, lease_until_ms, position, now_ms}."""
    job_id, pairs, body_text, result, lease, position, read_ms = answer
    record = dict(zip(pairs[::2], pairs[1::2], strict=True))
    body = json.loads(body_text)
    state = State(record["state"])
    return Job(
        id=job_id,
        tenant=record["tenant"],
        state=state,
        spec=JobSpec.from_json(body["spec"]),
        pool=record["pool"],
        lane=record["lane"],
        priority=int(record["priority"]),
        deadline_ms=_int(record.get("deadline_ms")),
        predicted_s=float(record["predicted_s"]),
        wall_s=body["wall_s"],
        max_attempts=int(record["max_attempts"]),
        created_ms=int(record["created_ms"]),
        queued_ms=_int(record.get("queued_ms")),
        started_ms=_int(record.get("started_ms")),
        finished_ms=_int(record.get("finished_ms")),
        not_before_ms=_int(record.get("not_before_ms")),
        lease_until_ms=_int(lease),
        attempt=int(record.get("attempt", 0)),
        attempts_used=int(record.get("attempts_used", 0)),
        worker_losses=int(record.get("worker_losses", 0)),
        worker=record.get("worker"),
        phase=record.get("phase"),
        progress=1.0 if state is State.SUCCEEDED else float(record.get("progress", 0.0)),
        step=int(record.get("step", 0)),
        steps=int(record.get("steps", 0)),
        cancelling="cancelling" in record,
        error_code=record.get("error_code"),
        error_message=record.get("error_message"),
        artifacts=Artifacts(**json.loads(result)) if result else None,
        hold=_int(record.get("hold")),
        charged=_int(record.get("charged")),
        dialect=body.get("dialect", "farm"),
        dialect_data=body.get("dialect_data", {}),
        name=body.get("name"),
        metadata=body.get("metadata", {}),
        webhook_url=body.get("webhook_url"),
        label=record.get("label"),
        phase_ms=_int(record.get("phase_ms")),
        read_ms=int(read_ms),
        erased="erased" in record,
        intake_attempt=int(record.get("intake_attempt", "0").partition(":")[0]),
        failed_on=record.get("failed_on"),
        position=_int(position),
        held_for=tuple(HoldReason(reason) for reason in record.get("held_for", "").split()),
        held_ms=_int(record.get("held_ms")),
        purchase=json.loads(record["purchase"]) if "purchase" in record else None,
        purchase_id=record.get("purchase_id"),
        external=body.get("external"),
        seed_given=body.get("seed_given", False),
        purchase_nonce=record.get("purchase_nonce"),
        tier=Tier(record.get("tier", Tier.NORMAL)),
        start_by_ms=_int(record.get("start_by_ms")),
        expires_ms=_int(record.get("expires_ms")),
        batch=record.get("batch"),
        shot=body.get("shot", {}),
        parents=tuple(record.get("parents", "").split()),
        retried_as=record.get("retried_as"),
        needs=record.get("needs", ""),
    )


def _int(text: str | float | None) -> int | None:
    return None if text is None else int(float(text))
