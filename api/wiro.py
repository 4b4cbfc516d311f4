"""The wiro.ai dialect: a shell around farm.wire.wiro and its neighbours. The WebSocket is api.wiro_socket."""

import hmac
import time
from dataclasses import replace
from typing import Any, BinaryIO, cast

from flask import Blueprint, Response, request

from api.auth import authenticate, tenant
from api.dialect import Dialect, answer
from api.forms import form
from api.problems import NoAddress
from api.provider import erase, every, job_of, listed, report, size_of, submit, with_data
from api.services import offered_models, services
from farm.jobs.draft import TOKEN_TAIL, Draft, Source
from farm.jobs.errors import Conflict, InvalidRequest, ModelUnavailable, NotFound, Unauthorized
from farm.jobs.job import Job
from farm.jobs.states import TERMINAL, State
from farm.ledger import CancelOutcome
from farm.submission.provider_drafts import stand_in
from farm.wire import model_ids, task_ids, wiro, wiro_auth, wiro_catalog, wiro_task
from farm.wire.report import Reply
from farm.wire.words import Fields, parse_object
from models.catalog import AREAS, MODELS

blueprint = Blueprint("wiro", __name__, url_prefix="/v1")

#: tasks or tools that one answer lists at most
_LISTED = 100
#: views that tell nothing of a tenant's
_DISCOVERY = frozenset({"wiro.tools", "wiro.tool", "wiro.explore"})


@blueprint.before_request
def _key() -> None:
    """A key alone, or a key whose secret signs the request's nonce: a key that has a secret must sign."""
    key = request.headers.get("x-api-key", "")
    try:
        # clients of signed projects list models with the key alone
        authenticate(key, _needs_none if request.endpoint in _DISCOVERY else _check_signature)
    except _Unsigned:
        raise
    except Unauthorized:
        raise Unauthorized(wiro_auth.UNKNOWN) from None


class _Unsigned(Unauthorized):
    """A known key without its signature."""


def _needs_none(_secret: str) -> None:
    """No signature."""


def _check_signature(secret: str) -> None:
    key = request.headers.get("x-api-key", "")
    nonce, signature = request.headers.get("x-nonce", ""), request.headers.get("x-signature", "")
    if not nonce or not signature:
        raise _Unsigned(wiro_auth.MISSING)
    if not wiro_auth.verify(key, secret, nonce, signature):
        raise _Unsigned(wiro_auth.WRONG)


@blueprint.post("/Run/<path:model>")
def run(model: str) -> Response:
    """Submit a job; the answer holds its id and its secret token."""
    body, files = _body()
    _check_offered(model)
    job = submit(with_data(_found(wiro.parse_create(model, body, files)), {TOKEN_TAIL: task_ids.new_token_tail()}))
    # of a repeated request it is the first one's
    tail = str(job.dialect_data[TOKEN_TAIL])
    return answer(Reply(200, wiro.render_created(task_ids.task_id(wiro.DIALECT, job.id), task_ids.token(job.id, tail))))


def _check_offered(model: str) -> None:
    """An unknown model is refused before its request is checked. Raises ModelUnavailable."""
    meaning = model_ids.meaning(wiro.DIALECT, model)
    pools = services().submissions.pools
    if meaning is not None and stand_in(meaning.model, pools.offered()) not in pools.offered_or_unavailable():
        raise ModelUnavailable(wiro.NOT_OFFERED, "model")


@blueprint.post("/Task/Detail")
def detail() -> Response:
    """A job's state, by its id or its token."""
    return answer(Reply(200, wiro_task.render_status(report(_asked()))))


@blueprint.post("/Task/List")
def tasks() -> Response:
    """A page of the caller's jobs of this dialect."""
    given = Fields(_body()[0])
    name, ascending = given.text("modelName", "modelname"), (given.text("order") or "DESC").strip().upper() == "ASC"
    first, asked = max(given.integer("start") or 0, 0), given.integer("limit")
    count = min(20 if asked is None else max(asked, 0), _LISTED)
    if name is None:
        shown = listed(wiro.DIALECT, first=first, count=count, oldest_first=ascending) if count else []
        total = sum(services().ledger.counts(tenant(), dialect=wiro.DIALECT).values())
    else:
        shown, total = [], 0
        for job in every(wiro.DIALECT, oldest_first=ascending):
            if name.lower() in str(job.dialect_data.get("model", "")).lower():
                if first <= total < first + count:
                    shown.append(job)
                total += 1
    return answer(Reply(200, wiro_task.render_list([report(job) for job in shown], total)))


@blueprint.post("/Task/Cancel")
def cancel() -> Response:
    """Only what still waits; what runs is killed."""
    job = _asked()
    if job.state not in (State.WAITING, State.QUEUED):
        raise Conflict(wiro.NOT_CANCELLABLE)
    services().ledger.cancel(tenant(), job.id)
    return _stopped(job)


@blueprint.post("/Task/Kill")
def kill() -> Response:
    """Cancel a job. Conflict when it is over."""
    job = _asked()
    if services().ledger.cancel(tenant(), job.id) is CancelOutcome.OVER:
        raise Conflict("Task could not be killed: it is over.")
    return _stopped(job)


@blueprint.post("/Task/InputOutputDelete")
def delete_files() -> Response:
    """Only of a task that is over; said twice it is as well."""
    try:
        job = _asked()
    except NotFound:
        raise NotFound("task-not-exist") from None
    if job.state not in TERMINAL or not erase(job):
        raise Conflict("Task is not over yet.")
    return answer(Reply(200, {"result": True, "errors": []}))


@blueprint.post("/File/Upload")
def upload() -> Response:
    """Store a file, to be named as an input."""
    body, _ = _body()
    file = request.files.get("file") or next(iter(request.files.values()), None)
    if file is None:
        raise InvalidRequest("Request files [file] required")
    size, stream = size_of(cast(BinaryIO, file.stream)), cast(BinaryIO, file.stream)
    kept = services().uploads.keep(tenant(), file.filename or "file", stream, size, file.mimetype)
    told = wiro_catalog.render_uploaded(
        file_id=kept.id,
        name=kept.name,
        content_type=kept.content_type,
        size=kept.size,
        folder=Fields(body).text("folderid", "folderId") or "0",
        url=kept.url,
        added_s=int(time.time()),
    )
    return answer(Reply(200, told))


@blueprint.post("/Tool/List")
def tools() -> Response:
    """A page of wiro's models that this farm renders now."""
    given = Fields(_body()[0])
    asked = ((given.text("search") or "").lower(), given.texts("categories"), given.texts("tags"))
    known = [tool for tool in _tools() if tool.is_wanted(*asked, given.text("slugowner", "slugOwner"))]
    first, count = max(given.integer("start") or 0, 0), given.integer("limit")
    shown = known[first : first + min(20 if count is None else max(count, 0), _LISTED)]
    return answer(Reply(200, wiro_catalog.render_tools(shown, total=len(known))))


@blueprint.post("/Tool/Detail")
def tool() -> Response:
    """One of wiro's models. NotFound when this farm does not render it."""
    given = Fields(_body()[0])
    slug = f"{given.text('slugowner', 'slugOwner') or ''}/{given.text('slugproject', 'slugProject') or ''}"
    wanted = model_ids.canonical(wiro.DIALECT, slug)
    found = [tool for tool in _tools() if tool.slug == wanted]
    if not found:
        raise NotFound(wiro.NO_MODEL)
    return answer(Reply(200, wiro_catalog.render_tool(found[0])))


@blueprint.post("/Tool/Explore")
def explore() -> Response:
    """All of them by category."""
    return answer(Reply(200, wiro_catalog.render_explore(_tools())))


def _tools() -> list[wiro_catalog.Tool]:
    """wiro's models that a worker of this farm renders now."""
    here, offered = services(), offered_models()
    tools = []
    for slug, meaning in model_ids.TABLE[wiro.DIALECT].items():
        name = stand_in(meaning.model, offered)
        if name not in offered or name not in MODELS:
            continue
        rates = {word: rate for word in AREAS if (rate := here.prices.rate_of_word(name, word)) is not None}
        tools.append(wiro_catalog.Tool(slug, MODELS[name].title, meaning.task, rates, here.settings.prices.credit_usd))
    return tools


def _body() -> tuple[dict[str, Any], dict[str, Source]]:
    """(parameters, files by parameter) of JSON under any label, or of a real form."""
    raw = request.get_data(cache=True)
    if wiro_auth.is_json(request.headers.get("Content-Type", ""), raw):
        return (parse_object(raw) if raw.strip() else {}), {}
    fields, files = form()
    # of a file and its companion XUrl one is empty; PHP calls a part inputImage[]
    return fields, {name.removesuffix("[]"): source for name, source in files if source.data}


def _found(draft: Draft) -> Draft:
    """Names of files that were uploaded before, as the uploads that they are."""
    known = services().uploads
    for role, source in draft.inputs.items():
        if source.upload is not None:
            upload = known.find(tenant(), source.upload)
            if upload is None:
                name = draft.called(role)
                raise InvalidRequest(f"Request files [{name}] required: no address and no file of yours")
            draft = replace(draft, inputs={**draft.inputs, role: Source(upload=upload)})
    return draft


def _asked() -> Job:
    """The task that the body names, by number or by token."""
    given = Fields(_body()[0])
    word = given.text("taskid", "taskId") or given.text("tasktoken", "taskToken", "socketaccesstoken")
    if word is None:
        raise InvalidRequest("taskid or socketaccesstoken is required")
    try:
        return job_of_token(word) or job_of(wiro.DIALECT, word)
    except NotFound:
        raise NotFound(wiro.NO_TASK) from None


def job_of_token(text: str) -> Job | None:
    """The caller's job with this token; None when it is no token. Raises NotFound."""
    parts = task_ids.split_token(text)
    if parts is None:
        return None
    job = job_of(wiro.DIALECT, task_ids.task_id(wiro.DIALECT, parts[0]))
    if not holds(job, parts[1]):
        raise NotFound(wiro.NO_TASK)
    return job


def holds(job: Job, tail: str) -> bool:
    """Whether `tail` is the secret part of the job's token; takes the same time whatever differs."""
    return hmac.compare_digest(str(job.dialect_data.get(TOKEN_TAIL, "")).encode(), tail.encode())


def _stopped(job: Job) -> Response:
    now = services().ledger.get(tenant(), job.id) or job
    return answer(Reply(200, wiro_task.render_stopped(report(now))))


def _render_error(error: Exception) -> Reply:
    if isinstance(error, NoAddress):
        return Reply(404, wiro.failure(0, wiro.NO_ADDRESS))
    return wiro.render_error(error)


DIALECT = Dialect(blueprint, ("/v1/Run", "/v1/Task", "/v1/Tool", "/v1/File"), _render_error)
