"""OpenAI's batches and files: what is asked and what is answered. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from farm.jobs.batch import AskedBatch, Batch, BatchState
from farm.jobs.errors import FaultCode, InvalidRequest
from farm.jobs.job import Job
from farm.jobs.states import Phase, State

VIDEOS, JOBS = "/v1/videos", "/v1/jobs"
MAX_CUSTOM_ID = 512
#: jobs whose phases are asked for at most
FINALIZING_MOST = 32
_WINDOW = re.compile(r"([1-9][0-9]{0,3})(h|d)")
_HOURS = {"h": 1, "d": 24}
_MAX_WINDOW_S = 30 * 86400
_BATCH, _OUTPUT, _ERRORS = "batch_", "file-output-", "file-error-"
#: the state of a batch whose file was not admitted
_ANSWERED = {
    "": "validating",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "expired",
}
#: how OpenAI calls what the farm calls otherwise
_CODES: Mapping[str, str] = {FaultCode.EXPIRED: "batch_expired", FaultCode.CANCELLED: "batch_cancelled"}


_Key = Annotated[str, Field(max_length=64)]
_Text = Annotated[str, Field(max_length=512)]


class CreateBatch(BaseModel):
    """A batch of requests in a file that was sent before (`POST /v1/files`), as OpenAI's API has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str = Field(min_length=1, max_length=128)
    endpoint: str = Field(description=f"{VIDEOS} or {JOBS}")
    completion_window: str = Field(description="24h, or another number of hours (h) or days (d)")
    metadata: dict[_Key, _Text] | None = Field(None, max_length=16)
    output_expires_after: dict[str, Any] | None = Field(None, description="read and not needed: output is made anew")


def window_s(text: str) -> int:
    """Seconds of a completion window. Raises InvalidRequest."""
    match = _WINDOW.fullmatch(text)
    seconds = 0 if match is None else int(match[1]) * _HOURS[match[2]] * 3600
    if not 0 < seconds <= _MAX_WINDOW_S:
        raise InvalidRequest("must be like 24h or 3d, and 30d at most", "completion_window")
    return seconds


def check_endpoint(text: str) -> None:
    """Raises InvalidRequest."""
    if text not in (VIDEOS, JOBS):
        raise InvalidRequest(f"must be {VIDEOS} or {JOBS}", "endpoint")


def output_id(batch_id: str) -> str:
    """The file of a batch's results."""
    return _OUTPUT + batch_id.removeprefix(_BATCH)


def error_id(batch_id: str) -> str:
    """The file of what failed."""
    return _ERRORS + batch_id.removeprefix(_BATCH)


def batch_of_file(file_id: str) -> tuple[str, bool] | None:
    """(batch, whether it is its file of errors) of an id that output_id or error_id made."""
    for start in (_OUTPUT, _ERRORS):
        if file_id.startswith(start):
            return _BATCH + file_id.removeprefix(start), start == _ERRORS
    return None


def as_asked(batch: Batch) -> AskedBatch:
    """How a batch that came in the farm's own form stands in this one: without a file, and with no window."""
    created_s, metadata = batch.created_ms // 1000, {"name": batch.name} if batch.name else {}
    return AskedBatch(batch.id, batch.tenant, "", JOBS, "", created_s, 0, metadata)


def custom_id(shot: Mapping[str, Any]) -> str:
    """What a request is called: its id, or where the manifest has none its line, and which take it is."""
    name = shot["id"] if shot.get("id") else f"line-{shot.get('line')}"
    return f"{name}-take{shot['take']}" if "take" in shot else str(name)


def render_asked(asked: AskedBatch) -> dict[str, Any]:
    """A batch that is not admitted: it is being looked at, or never will be."""
    status = _ANSWERED[asked.answer]
    return {
        **_common(asked),
        "status": status,
        "errors": _errors(asked.errors) if asked.answer == "failed" else None,
        f"{status}_at": asked.answered_s,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }


def render_batch(asked: AskedBatch, batch: Batch, *, finalizing_s: int | None = None) -> dict[str, Any]:
    """An admitted one. Its output can be read from the beginning. `finalizing_s`: since when all that is left of it is
    to store results."""
    status = _status(asked, batch, finalizing=finalizing_s is not None)
    ended_s = None if batch.ended_ms is None else batch.ended_ms // 1000
    counts = batch.counts
    failed = counts[State.FAILED] + counts[State.CANCELLED]
    return {
        **_common(asked),
        "status": status,
        "errors": None,
        "output_file_id": output_id(batch.id),
        "error_file_id": error_id(batch.id) if failed else None,
        "in_progress_at": batch.created_ms // 1000,
        "finalizing_at": ended_s or finalizing_s,
        "cancelling_at": None if batch.cancelling_ms is None else batch.cancelling_ms // 1000,
        **({f"{status}_at": ended_s} if ended_s is not None else {}),
        "request_counts": {"total": batch.jobs, "completed": counts[State.SUCCEEDED], "failed": failed},
    }


def may_be_finalizing(batch: Batch) -> bool:
    """Whether so few jobs are left, all of them at work, that it is worth asking for their phases."""
    return batch.state is BatchState.OPEN and 0 < batch.open == batch.counts[State.RUNNING] <= FINALIZING_MOST


def finalizing_s(left: Sequence[Job]) -> int | None:
    """Since when all that is left is to store the results of these jobs, seconds since the epoch."""
    stored = [job.phase_ms or 0 for job in left if job.phase == Phase.UPLOADING]
    return max(stored) // 1000 if left and len(stored) == len(left) else None


def _status(asked: AskedBatch, batch: Batch, *, finalizing: bool) -> str:
    # only the farm's own form cancels a part of a batch, and then the rest goes on
    cancel_ms, ended_ms = batch.cancelling_ms, batch.ended_ms
    if ended_ms is None:
        if cancel_ms is not None:
            return "cancelling"
        return "finalizing" if finalizing else "in_progress"
    if not batch.counts[State.CANCELLED]:
        return "completed"
    if cancel_ms is not None and cancel_ms <= ended_ms:
        return "cancelled"
    return "expired" if asked.expires_s and ended_ms // 1000 >= asked.expires_s else "completed"


def _common(asked: AskedBatch) -> dict[str, Any]:
    return {
        "id": asked.id,
        "object": "batch",
        "endpoint": asked.endpoint,
        "input_file_id": asked.input_file or None,
        "completion_window": asked.window or None,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": asked.created_s,
        "in_progress_at": None,
        "expires_at": asked.expires_s or None,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "metadata": dict(asked.metadata) or None,
    }


def _errors(errors: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": [dict(error) for error in errors]}


def render_list(shown: Sequence[Mapping[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page of batches or files."""
    return {
        "object": "list",
        "data": list(shown),
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": more,
    }


def render_result(job_id: str, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the output: a request that succeeded."""
    response = {"status_code": 200, "request_id": job_id, "body": body}
    return {"id": f"batch_req_{job_id}", "custom_id": custom_id, "response": response, "error": None}


def render_failure(job_id: str, custom_id: str, code: str, message: str) -> dict[str, Any]:
    """A line of the file of errors."""
    error = {"code": _CODES.get(code, code), "message": message}
    return {"id": f"batch_req_{job_id}", "custom_id": custom_id, "response": None, "error": error}


def render_file(file_id: str, name: str, size: int, *, created_s: int, expires_s: int, purpose: str = "batch") -> Any:
    """The file object."""
    return {
        "id": file_id,
        "object": "file",
        "bytes": size,
        "created_at": created_s,
        "expires_at": expires_s or None,
        "filename": name,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
