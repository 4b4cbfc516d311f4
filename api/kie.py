"""The kie.ai dialect: a shell around farm.wire.kie, with its file uploads on the same address."""

import base64
import binascii
import io
import tempfile
from datetime import UTC, datetime
from mimetypes import guess_type
from pathlib import PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from flask import Blueprint, Response, request

from api.auth import authenticate, bearer_or_header, tenant
from api.dialect import Dialect, answer
from api.provider import credits_left, job_of, report, size_of, submit
from api.services import services
from farm.jobs.errors import InvalidRequest, NotFound, TooMany
from farm.wire import kie, task_ids
from farm.wire.report import Reply
from farm.wire.words import Fields, parse_object

blueprint = Blueprint("kie", __name__, url_prefix="/api")

#: a link made by download-url lives this long
_LINK_TTL_S = 20 * 60
#: characters of a client's own labels that are sent back
_PATH_CHARS = 1024


@blueprint.before_request
def _key() -> None:
    authenticate(bearer_or_header())


@blueprint.post("/v1/jobs/createTask")
def create() -> Response:
    """Submit a job."""
    job = submit(kie.parse_create(parse_object(request.get_data(cache=False))))
    return answer(Reply(200, kie.render_created(task_ids.task_id(kie.DIALECT, job.id))))


@blueprint.get("/v1/jobs/recordInfo")
def record() -> Response:
    """A job's state. kie answers an unknown id with 200 and code 422."""
    try:
        job = job_of(kie.DIALECT, request.args.get("taskId"))
    except NotFound as error:
        return answer(kie.render_error(error, record=True))
    return answer(Reply(200, kie.render_status(report(job))))


@blueprint.get("/v1/chat/credit")
def credit() -> Response:
    """The caller's credit."""
    return answer(Reply(200, kie.render_balance(credits_left())))


@blueprint.post("/v1/common/download-url")
def download_url() -> Response:
    """A fresh link to a file that this farm gave an address of, for its owner."""
    url = Fields(parse_object(request.get_data(cache=False))).url("url")
    if url is None:
        raise InvalidRequest("required", "url")
    here = services()
    key = unquote(urlsplit(url).path).removeprefix(f"/{here.settings.s3.bucket}/")
    owned = any(key.startswith(f"{folder}/{tenant()}/") for folder in ("results", "uploads"))
    if not owned or ".." in key or here.store.stat(key) is None:
        raise NotFound("no such file")
    # what was uploaded may be a page: it is saved, not shown
    saved = PurePosixPath(key).name if key.startswith("uploads/") else None
    return answer(Reply(200, kie.envelope(here.store.presign_get(key, ttl_s=_LINK_TTL_S, filename=saved))))


@blueprint.post("/file-stream-upload")
def upload_stream() -> Response:
    """Store a file of a form, to be named as an input."""
    file = request.files.get("file")
    if file is None:
        raise InvalidRequest("send the file as multipart/form-data", "file")
    return _stored(cast(BinaryIO, file.stream), Fields(request.form), file.filename or "", file.mimetype)


@blueprint.post("/file-base64-upload")
def upload_base64() -> Response:
    """Store a file written out in base64. Raises InvalidRequest."""
    given = Fields(parse_object(request.get_data(cache=False)))
    text = given.text("base64Data", "base64")
    if text is None:
        raise InvalidRequest("required", "base64Data")
    head, comma, tail = text.partition(",")
    kind = head[5:].partition(";")[0] if comma and head[:5].lower() == "data:" else ""
    try:
        data = base64.b64decode("".join((tail if comma else text).split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("is not base64", "base64Data") from None
    return _stored(io.BytesIO(data), given, "", kind)


@blueprint.post("/file-url-upload")
def upload_url() -> Response:
    """Fetch a file from a URL and store it. Raises InvalidRequest, TooMany."""
    given = Fields(parse_object(request.get_data(cache=False)))
    url, intake = given.url("fileUrl", "url"), services().submissions.intake
    if url is None:
        raise InvalidRequest("required", "fileUrl")
    with tempfile.TemporaryFile() as out, intake.fetch_slot(tenant()) as free:
        if not free:
            raise TooMany("too many files are being fetched at the moment", retry_after_s=2.0)
        fetched = intake.guard.fetch(url, out, limit=services().settings.intake.max_video_bytes)
        return _stored(out, given, PurePosixPath(urlsplit(url).path).name, fetched.content_type or "")


def _stored(data: BinaryIO, given: Fields, name: str, content_type: str) -> Response:
    """Every upload ends here. The path is the client's own filing; a file is found by its address."""
    size = size_of(data)
    if size == 0:
        raise InvalidRequest("is empty", "file")
    name = PurePosixPath(given.text("fileName", "filename") or name).name or "file"
    kind = content_type or guess_type(name)[0] or "application/octet-stream"
    upload = services().uploads.keep(tenant(), name, data, size, kind)
    folder = (given.text("uploadPath") or "").strip("/")[:_PATH_CHARS]
    body = kie.render_uploaded(
        name=upload.name,
        path=f"{folder}/{upload.name}" if folder else upload.name,
        url=upload.url,
        size=size,
        content_type=upload.content_type,
        uploaded_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    return answer(Reply(200, body))


#: the rest of /api/v1 that is nobody's is answered in kie's words too
DIALECT = Dialect(blueprint, ("/api/",), kie.render_error)
