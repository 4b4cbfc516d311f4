"""OpenAI's form of POST /v1/batches, and the files that go with it: a shell around farm.wire.openai_batches."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from flask import Blueprint, Response, request, stream_with_context
from pydantic import BaseModel, ConfigDict, Field

from api.auth import authenticate, bearer_or_header, key_holds, tenant
from api.dialect import Dialect, answer
from api.limits import count_submission
from api.own.jobs import show as show_job
from api.own.operations import query
from api.provider import IDEMPOTENCY_KEY, report, size_of
from api.services import services
from farm.batches.admission import new_batch_id
from farm.batches.results import Results
from farm.jobs.batch import AskedBatch, Batch, is_batch_id
from farm.jobs.errors import FarmError, FaultCode, InvalidRequest, NotFound, TooLarge
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.wire import openai, openai_batches, own
from farm.wire.report import Reply

blueprint = Blueprint("openai_files", __name__, url_prefix="/v1/files")
_LISTED = 10_000


class _FilesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    purpose: str | None = Field(None, max_length=64)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = Field(None, max_length=128)
    limit: int = Field(_LISTED, ge=1, le=_LISTED)


@blueprint.before_request
def _key() -> None:
    authenticate(bearer_or_header())


@blueprint.post("")
def create() -> Response:
    """Keep a file of requests, from a form with `file` and `purpose`."""
    most = services().settings.batches.max_body
    if (request.content_length or 0) > most:
        raise TooLarge(f"{request.content_length} bytes are more than the {most} of a file of requests")
    request.max_content_length = most
    if request.form.get("purpose") != "batch":
        raise InvalidRequest("must be batch: other files go to POST /v1/uploads", "purpose")
    file = request.files.get("file")
    if file is None:
        raise InvalidRequest("required: the file of requests, as a part of a multipart form", "file")
    size = size_of(file.stream)  # type: ignore[arg-type]
    kept = services().request_files.keep(tenant(), file.filename or "requests.jsonl", file.stream, size)  # type: ignore[arg-type]
    return answer(Reply(200, _file(kept)))


@blueprint.get("")
def files() -> Response:
    """The caller's files of requests, newest first. What batches put out is found by their ids."""
    asked = query(_FilesQuery)
    limit, after, found = asked.limit, asked.after, services().request_files.all(tenant())
    if asked.purpose not in (None, "batch"):
        found = []
    if asked.order == "asc":
        found.reverse()
    if after:
        ids = [one.id for one in found]
        found = found[ids.index(after) + 1 :] if after in ids else []
    more = len(found) > limit
    return answer(Reply(200, openai_batches.render_list([_file(one) for one in found[:limit]], more=more)))


@blueprint.get("/<file_id>")
def retrieve(file_id: str) -> Response:
    """What is known of a file."""
    output = openai_batches.batch_of_file(file_id)
    if output is None:
        return answer(Reply(200, _file(services().request_files.get(tenant(), file_id))))
    batch_id, errors = output
    asked, batch = _found(batch_id)
    if batch is None:
        raise NotFound(f"no file {file_id[:64]}")
    name = f"{batch_id}_{'errors' if errors else 'output'}.jsonl"
    created_s, expires_s = batch.created_ms // 1000, asked.expires_s
    # its size is known when it was read
    found = openai_batches.render_file(
        file_id, name, 0, created_s=created_s, expires_s=expires_s, purpose="batch_output"
    )
    return answer(Reply(200, found))


@blueprint.get("/<file_id>/content")
def content(file_id: str) -> Response:
    """The bytes of a file; of a batch's output, what there is by now."""
    here, response = services(), Response(mimetype="application/jsonl")
    output = openai_batches.batch_of_file(file_id)
    if output is not None:
        asked, batch = _found(output[0])
        if batch is None:
            raise NotFound(f"no file {file_id[:64]}")
        lines = _failures(asked) if output[1] else _results(asked)
        here.downloads.respond(tenant(), response, stream_with_context(lines), key_holds())
        return response
    found = here.request_files.get(tenant(), file_id)
    here.downloads.respond(tenant(), response, here.request_files.blocks(tenant(), found), key_holds())
    return response


@blueprint.delete("/<file_id>")
def delete(file_id: str) -> Response:
    """Remove a file of requests. A batch that was admitted from it goes on."""
    services().request_files.delete(tenant(), file_id)
    return answer(Reply(200, {"id": file_id, "object": "file", "deleted": True}))


def create_batch(body: bytes) -> Response:
    """POST /v1/batches with a JSON body: the io worker looks at the file. Refused in OpenAI's words."""
    try:
        return _create_batch(body)
    except FarmError as error:
        return answer(openai.render_error(error))


def _create_batch(body: bytes) -> Response:
    if body.lstrip()[:1] not in (b"{", b""):
        words = "JSON asks for a batch by a file of requests: send shots as application/x-ndjson or text/csv"
        raise InvalidRequest(words)
    given = own.parse(openai_batches.CreateBatch, body)
    openai_batches.check_endpoint(given.endpoint)
    now_s, seconds = int(time.time()), openai_batches.window_s(given.completion_window)
    here, key = services(), own.parse_idempotency_key(request.headers.get(IDEMPOTENCY_KEY))
    sha256 = hashlib.sha256(b"file\n" + given.model_dump_json().encode()).hexdigest()
    first = here.batches.known(tenant(), key, sha256)
    if first is not None:
        return _replayed(first)
    here.request_files.get(tenant(), given.input_file_id)
    count_submission()
    asked = AskedBatch(
        id=new_batch_id(),
        tenant=tenant(),
        input_file=given.input_file_id,
        endpoint=given.endpoint,
        window=given.completion_window,
        created_s=now_s,
        expires_s=now_s + seconds,
        metadata=given.metadata or {},
    )
    first = here.ledger.ask_batch(asked, idempotency_key=key, body_sha256=sha256)
    return answer(Reply(200, openai_batches.render_asked(asked))) if first == asked.id else _replayed(first)


def _replayed(batch_id: str) -> Response:
    return answer(Reply(200, shown(*_found(batch_id)), {"Idempotent-Replayed": "true"}))


def asked_by_its_clients() -> bool:
    """Whether one of OpenAI's own clients asks, by a header that all of them send."""
    return "X-Stainless-Lang" in request.headers


def shown(asked: AskedBatch | None, batch: Batch | None) -> Mapping[str, Any]:
    """A batch in OpenAI's form; `asked` where it came in it."""
    if asked is None:
        assert batch is not None
        asked = openai_batches.as_asked(batch)
    if batch is None:
        return openai_batches.render_asked(asked)
    left: Sequence[Job] = ()
    if openai_batches.may_be_finalizing(batch):
        most = openai_batches.FINALIZING_MOST
        left = services().ledger.page(asked.tenant, states=[State.RUNNING], batch=batch.id, limit=most).jobs
    return openai_batches.render_batch(asked, batch, finalizing_s=openai_batches.finalizing_s(left))


def is_cancelled(asked: AskedBatch) -> bool:
    """End a batch whose file is not looked at yet, or was ended so before. False where it is: then its jobs are to be
    cancelled."""
    wanted = replace(asked, answer="cancelled", answered_s=int(time.time()))
    return asked.answer == wanted.answer or services().ledger.answer_batch(wanted)


def _found(batch_id: str) -> tuple[AskedBatch, Batch | None]:
    ledger = services().ledger
    asked = ledger.asked([batch_id])[0] if is_batch_id(batch_id) else None
    batch = ledger.batch(tenant(), batch_id) if is_batch_id(batch_id) else None
    if asked is None and batch is not None:
        asked = openai_batches.as_asked(batch)
    if asked is None or asked.tenant != tenant():
        raise NotFound(f"no file of {batch_id[:64]}")
    return asked, batch


def _file(kept: Any) -> Any:
    return openai_batches.render_file(kept.id, kept.name, kept.size, created_s=kept.created_s, expires_s=kept.expires_s)


def _of(asked: AskedBatch) -> Results:
    here = services()
    return Results(here.ledger, here.store, asked.tenant, asked.id, here.settings.s3.url_ttl_s)


def _results(asked: AskedBatch) -> Iterator[bytes]:
    body = _video if asked.endpoint == openai_batches.VIDEOS else _job
    for job in _of(asked).jobs(State.SUCCEEDED):
        yield _line(openai_batches.render_result(job.id, openai_batches.custom_id(job.shot), body(job)))


def _failures(asked: AskedBatch) -> Iterator[bytes]:
    for job in _of(asked).jobs(State.FAILED, State.CANCELLED):
        code, message = job.error_code or FaultCode.CANCELLED, job.error_message or "it was cancelled"
        yield _line(openai_batches.render_failure(job.id, openai_batches.custom_id(job.shot), code, message))


def _video(job: Job) -> Mapping[str, Any]:
    return openai.render_status(report(job))


def _job(job: Job) -> Mapping[str, Any]:
    return show_job(job).model_dump(mode="json")


def _line(told: Mapping[str, Any]) -> bytes:
    # plain ASCII: many readers end a line at U+2028, too
    return json.dumps(told).encode() + b"\n"


DIALECT = Dialect(blueprint, ("/v1/files",), openai.render_error)
