"""OpenAI's /v1/videos: a shell around farm.wire.openai. The file is served here, behind the same key."""

import tempfile
from pathlib import Path

from flask import Blueprint, Response, request

from api.auth import authenticate, bearer_or_header, key_holds, tenant
from api.dialect import Dialect, answer
from api.forms import FORMS, form
from api.provider import MAX_REUSED, erase, job_of, report, stored_source, submit
from api.services import services
from farm.jobs.draft import Source
from farm.jobs.errors import InvalidRequest, NotFound
from farm.jobs.job import Job
from farm.jobs.states import TERMINAL, State
from farm.results.last_frame import last_frame
from farm.submission import derived
from farm.wire import openai, task_ids
from farm.wire.report import Reply
from farm.wire.words import as_integer, parse_object

blueprint = Blueprint("openai", __name__, url_prefix="/v1/videos")

_LISTED, _LISTED_MOST = 20, 100


@blueprint.before_request
def _key() -> None:
    authenticate(bearer_or_header())


@blueprint.post("")
def create() -> Response:
    """Submit a job, from JSON or a form with a picture."""
    if request.mimetype in FORMS:
        draft = openai.parse_create(*form())
    else:
        draft = openai.parse_create(parse_object(request.get_data(cache=False)))
    return answer(Reply(200, openai.render_created(report(submit(draft)))))


@blueprint.post("/<video_id>/remix")
def remix(video_id: str) -> Response:
    """The same again with another prompt: model, seed, size, length and inputs stay."""
    prompt = openai.parse_remix(form()[0] if request.mimetype in FORMS else parse_object(request.get_data(cache=False)))
    job = derived.finished(_job(video_id))
    inputs = {role: stored_source(ref) for role, ref in job.spec.inputs.items()}
    draft = derived.remix(job, prompt, inputs)
    seconds = job.dialect_data.get("seconds")
    made = submit(openai.derived(draft, of=video_id, kind="remixed", seconds=seconds))
    return answer(Reply(200, openai.render_created(report(made))))


@blueprint.post("/edits")
def edit() -> Response:
    """A clip redrawn as the prompt says, by VACE."""
    asked = _derived(longer=False)
    if asked.file is not None:
        draft = derived.edit(asked.prompt, asked.file)
    else:
        job = derived.finished(_job(asked.video_id or ""))
        draft = derived.edit(asked.prompt, _result(job), job)
    made = submit(openai.derived(draft, of=asked.video_id, kind="edited"))
    return answer(Reply(200, openai.render_created(report(made))))


@blueprint.post("/extensions")
def extend() -> Response:
    """The next shot: it begins with the last frame of a finished one."""
    asked = _derived(longer=True)
    if asked.video_id is None:
        raise InvalidRequest("give the id of a video that this farm completed; a file is not gone on with", "video")
    job = derived.finished(_job(asked.video_id))
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        services().store.get_file(_video_key(job), Path(file.name), MAX_REUSED)
        picture = last_frame(Path(file.name))
    draft = derived.extend(job, asked.prompt, asked.seconds, Source(data=picture))
    made = submit(openai.derived(draft, of=asked.video_id, kind="extended", seconds=asked.seconds))
    return answer(Reply(200, openai.render_created(report(made))))


@blueprint.post("/characters")
@blueprint.get("/characters/<character_id>")
def characters(character_id: str = "") -> Response:
    """OpenAI kept characters; here a picture goes with each video."""
    raise NotFound("this farm keeps no characters; send a picture as input_reference with each video")


def _derived(*, longer: bool) -> openai.Derived:
    fields, files = form() if request.mimetype in FORMS else (parse_object(request.get_data(cache=False)), [])
    return openai.parse_derived(fields, files, longer=longer)


def _result(job: Job) -> Source:
    return Source(data=services().store.get_bytes(_video_key(job), MAX_REUSED))


def _video_key(job: Job) -> str:
    assert job.artifacts is not None
    return job.artifacts.video


@blueprint.get("")
def videos() -> Response:
    """Newest first unless `order` is asc; `after` is the last id of the page before."""
    limit = as_integer(request.args.get("limit"), "limit")
    if limit is not None and not 1 <= limit <= _LISTED_MOST:
        raise InvalidRequest(f"must be between 1 and {_LISTED_MOST}", "limit")
    order = (request.args.get("order") or "desc").lower()
    if order not in ("asc", "desc"):
        raise InvalidRequest("must be asc or desc", "order")
    page = services().ledger.page(
        tenant(),
        dialect=openai.DIALECT,
        cursor=_place(request.args.get("after")),
        limit=limit or _LISTED,
        oldest_first=order == "asc",
    )
    return answer(Reply(200, openai.render_list([report(job) for job in page.jobs], more=page.cursor is not None)))


def _place(after: str | None) -> str | None:
    """A cursor says where to go on; its video may have been deleted meanwhile."""
    if not after:
        return None
    place = task_ids.job_id(openai.DIALECT, after)
    if place is None:
        raise InvalidRequest("is no id of a video", "after")
    return place


@blueprint.get("/<video_id>")
def retrieve(video_id: str) -> Response:
    """A job's state."""
    return answer(Reply(200, openai.render_status(report(_job(video_id)))))


@blueprint.delete("/<video_id>")
def delete(video_id: str) -> Response:
    """Stops a video that is not over; its files, and what is known of it here, go."""
    job = _job(video_id)
    if job.state not in TERMINAL:
        services().ledger.cancel(tenant(), job.id)
    erase(job, unlist=True)
    return answer(Reply(200, openai.render_deleted(video_id)))


@blueprint.get("/<video_id>/content")
def content(video_id: str) -> Response:
    """The MP4, or its poster for variant=thumbnail; whole, or the range that was asked for."""
    job, variant = _job(video_id), request.args.get("variant") or "video"
    if variant not in openai.VARIANTS:
        raise InvalidRequest(f"must be one of {', '.join(openai.VARIANTS)}", "variant")
    if job.state is not State.SUCCEEDED or job.artifacts is None:
        raise NotFound("The video is not ready: its content can be downloaded once its status is completed")
    key, kind = (job.artifacts.video, "video/mp4") if variant == "video" else (job.artifacts.poster, "image/jpeg")
    return _file(key, kind)


def _file(key: str, kind: str) -> Response:
    store = services().store
    stat = store.stat(key)
    if stat is None:
        raise NotFound("The content is gone")
    response = Response(mimetype=kind, headers={"Accept-Ranges": "bytes", "ETag": f'"{stat.etag}"'})
    asked = request.range
    span = asked.range_for_length(stat.size) if asked is not None else None
    if asked is not None and asked.units == "bytes" and span is None and len(asked.ranges) == 1:
        response.status_code = 416
        response.headers["Content-Range"] = f"bytes */{stat.size}"
        return response
    first, end = span or (0, stat.size)
    if span is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {first}-{end - 1}/{stat.size}"
    response.content_length = end - first
    if request.method != "HEAD" and end > first:
        services().downloads.respond(tenant(), response, store.blocks(key, first, end - first), key_holds())
    return response


def _job(video_id: str) -> Job:
    try:
        job = job_of(openai.DIALECT, video_id)
    except NotFound:
        job = None
    if job is None or job.erased:
        raise NotFound(f"Video with id '{video_id[:100]}' not found.")
    return job


DIALECT = Dialect(blueprint, ("/v1/videos",), openai.render_error)
