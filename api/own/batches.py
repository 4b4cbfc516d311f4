"""/v1/batches: many shots in one request."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO

from flask import Response, request

from api import openai_batches
from api.auth import key_holds, tenant
from api.dialect import JSON, answer
from api.limits import count_submission
from api.own.blueprint import own_api
from api.own.jobs import ListQuery, could_start, listed
from api.own.operations import json_body, operation, query
from api.problems import HttpRefusal
from api.services import services
from farm.batches.cells import value_of
from farm.batches.columns import COLUMNS
from farm.batches.manifest import MEDIA
from farm.batches.results import Results
from farm.jobs.batch import Act, AskedBatch, Batch, is_batch_id
from farm.jobs.errors import Conflict, InvalidRequest, NotFound, TooLarge
from farm.jobs.money import MICRO
from farm.jobs.states import HoldReason, State
from farm.ledger.farm_numbers import PoolNumbers
from farm.wire import own
from farm.wire.openai_batches import CreateBatch
from farm.wire.own_batches import (
    BatchList,
    BatchListQuery,
    BatchQuery,
    BatchView,
    BatchViewQuery,
    QuoteView,
    view_batch,
)
from farm.wire.own_views import JobList, ProblemView
from farm.wire.report import Reply


@own_api.post("/v1/batches")
@operation(
    "Submit a batch",
    {
        201: BatchView,
        200: BatchView,
        402: ProblemView,
        409: ProblemView,
        413: ProblemView,
        415: ProblemView,
        422: ProblemView,
        429: ProblemView,
    },
    body=CreateBatch,
    media=("application/x-ndjson", "text/csv"),
    query=BatchQuery,
    headers={
        "Idempotency-Key": "1 to 255 characters. The same key and request answer with the first batch (200) for 24 "
        "hours; the same key with another is 409"
    },
)
def create_batch() -> Response:
    """The body has a shot on each line: JSON objects, or CSV with a header. All of it is admitted, or nothing is: then
    the answer names lines, fields and what would do. With `dry_run` it only says what the batch would be.

    A JSON body asks for a batch as OpenAI's API does, by a file of `POST /v1/files`; such a batch is answered as that
    API answers it."""
    if request.mimetype == JSON:
        return openai_batches.create_batch(json_body())
    media = MEDIA.get(request.mimetype)
    if media is None:
        words = "send application/x-ndjson or text/csv"
        raise HttpRefusal(415, "unsupported-media-type", f"{words}, not {request.mimetype or 'a body without a type'}")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HttpRefusal(415, "unsupported-media-type", "send the body without Content-Encoding: unpacked")
    charset = request.mimetype_params.get("charset", "utf-8")
    if charset.lower().replace("-", "") not in ("utf8", "usascii"):
        raise HttpRefusal(415, "unsupported-media-type", f"send UTF-8, not {charset[:40]}")
    key = own.parse_idempotency_key(request.headers.get("Idempotency-Key"))
    asked: Any = query(BatchQuery)
    body, here = manifest_body(), services()
    sha256 = _mark(body)
    # nothing is kept of a dry run, and no key of it
    first = None if asked.dry_run else here.batches.known(tenant(), key, sha256)
    if first is not None:
        return answer(Reply(200, show(batch_of(first)), {**_at(first), "Idempotent-Replayed": "true"}))
    count_submission()
    planned = here.batches.plan(tenant(), body, media, _defaults(asked.defaults), asked.takes)
    with closing(planned.file):
        if asked.dry_run:
            return answer(Reply(200, _quote(planned.shots, planned.file)))
        came = here.batches.admit(
            tenant(), planned, name=asked.name or "", key=key, sha256=sha256, hold_after=asked.hold_after
        )
    replayed = {} if came.created else {"Idempotent-Replayed": "true"}
    return answer(Reply(201 if came.created else 200, show(batch_of(came.id)), {**_at(came.id), **replayed}))


@own_api.get("/v1/batches")
@operation("List batches, newest first", {200: BatchList, 422: ProblemView}, query=BatchListQuery)
def list_batches() -> Response:
    """A page of the caller's batches."""
    asked, ledger = query(BatchListQuery), services().ledger
    for name, said in (("cursor", "not the next_cursor of a page"), ("after", "not the id of a batch")):
        if (given := getattr(asked, name)) is not None and not is_batch_id(given):
            raise InvalidRequest(f"{said}; leave it out for the first page", name)
    if asked.idempotency_key is None:
        ids = ledger.batch_ids(tenant(), after=asked.cursor or asked.after, limit=asked.limit + 1)
    else:
        known = ledger.known_batch(tenant(), asked.idempotency_key)
        ids = [] if known is None else [known[0]]
    page, more = ids[: asked.limit], len(ids) > asked.limit
    found = zip(ledger.asked(page), ledger.batches(tenant(), page), ledger.acts(page), strict=True)
    views = [view for each in found if (view := _shown(*each, form=asked.form, view=asked.view)) is not None]
    return answer(
        Reply(
            200,
            BatchList(
                data=views,
                next_cursor=page[-1] if more else None,
                first_id=page[0] if page else None,
                last_id=page[-1] if page else None,
                has_more=more,
            ),
        )
    )


def _shown(
    asked: AskedBatch | None, batch: Batch | None, acts: list[Act], *, form: str | None, view: str | None
) -> Any:
    """A batch as it is answered; None where it did not come in `form`, or has nothing to show in that view."""
    by_file = asked is not None and asked.tenant == tenant()
    if form == ("own" if by_file else "openai"):
        return None
    if by_file and in_openais_form(asked, view):
        return openai_batches.shown(asked, batch)
    if batch is None:
        return None
    return openai_batches.shown(None, batch) if in_openais_form(None, view) and not by_file else show(batch, acts)


def in_openais_form(asked: AskedBatch | None, view: str | None) -> bool:
    """Whether a batch is answered as OpenAI's API does: in the form in which it came, unless one is named or its own
    clients ask, which know no other."""
    return view == "openai" if view is not None else asked is not None or openai_batches.asked_by_its_clients()


@own_api.get("/v1/batches/<batch_id>")
@operation("Get a batch", {200: BatchView, 404: ProblemView, 409: ProblemView}, query=BatchViewQuery)
def get_batch(batch_id: str) -> Response:
    """Its jobs by state, what it costs, and when it may end. The answer takes the same time for any size."""
    return answer(Reply(200, shown(batch_id, query(BatchViewQuery).view)))


@own_api.get("/v1/batches/<batch_id>/jobs")
@operation(
    "List a batch's jobs, in the order of its lines",
    {200: JobList, 404: ProblemView, 409: ProblemView},
    query=ListQuery,
)
def batch_jobs(batch_id: str) -> Response:
    """As GET /v1/jobs, the first line first; what a retry made anew comes last."""
    batch, asked = batch_of(batch_id), query(ListQuery)
    for name in ("label", "idempotency_key"):
        if getattr(asked, name) is not None:
            raise InvalidRequest("leave it out: the jobs of a batch are listed by state and model", name)
    page = services().ledger.page(
        tenant(),
        states=asked.state,
        model=asked.model,
        batch=batch.id,
        cursor=asked.cursor,
        limit=asked.limit,
        oldest_first=True,
    )
    return answer(Reply(200, listed(page)))


@own_api.get("/v1/batches/<batch_id>/results")
@operation("Results of a batch", {200: "application/x-ndjson", 404: ProblemView, 409: ProblemView, 429: ProblemView})
def batch_results(batch_id: str) -> Response:
    """A line for each job in the order of the manifest: its state, and the addresses of its files, signed anew. May be
    read while the batch runs."""
    response = Response(mimetype="application/x-ndjson")
    return _sent(response, _results(batch_id).lines())


@own_api.get("/v1/batches/<batch_id>/results.zip")
@operation(
    "Videos of a batch, as one zip", {200: "application/zip", 404: ProblemView, 409: ProblemView, 429: ProblemView}
)
def batch_archive(batch_id: str) -> Response:
    """Every video that is there by now, and a list of all jobs. It is written while it is sent: its size is not known
    beforehand."""
    found, response = _results(batch_id), Response(mimetype="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="{found.batch}.zip"'
    return _sent(response, found.archive())


def _results(batch_id: str) -> Results:
    here = services()
    return Results(here.ledger, here.store, tenant(), batch_of(batch_id).id, here.settings.s3.url_ttl_s)


def _sent(response: Response, blocks: Iterator[bytes]) -> Response:
    if request.method == "HEAD":
        # its size is not known, and is not 0
        response.automatically_set_content_length = False
    else:
        services().downloads.respond(tenant(), response, blocks, key_holds())
    return response


def batch_of(batch_id: str) -> Batch:
    """The caller's batch of that id. NotFound for one that is not there, not theirs, or no id at all; Conflict for one
    that was asked for by a file and is not admitted."""
    batch = services().ledger.batch(tenant(), batch_id) if is_batch_id(batch_id) else None
    if batch is not None:
        return batch
    asked = asked_of(batch_id)
    if asked is None:
        raise NotFound(f"no batch {batch_id[:64]}")
    status = openai_batches.shown(asked, None)["status"]
    later = " yet; ask again when its file is read" if status == "validating" else ""
    raise Conflict(f"the batch is {status}: it has no jobs{later}")


def shown(batch_id: str, view: str | None = None) -> Any:
    """The caller's batch of that id, in the form in which it came unless another `view` is wanted. Raises NotFound;
    Conflict for the own view of one that is not admitted."""
    asked = asked_of(batch_id)
    if not in_openais_form(asked, view):
        return show(batch_of(batch_id))
    ledger = services().ledger
    batch = ledger.batch(tenant(), batch_id) if asked is not None else batch_of(batch_id)
    return openai_batches.shown(asked, batch)


def asked_of(batch_id: str) -> AskedBatch | None:
    """What the caller asked for by a file."""
    asked = services().ledger.asked([batch_id])[0] if is_batch_id(batch_id) else None
    return asked if asked is not None and asked.tenant == tenant() else None


def show(batch: Batch, acts: Sequence[Act] | None = None) -> BatchView:
    """A batch as its owner sees it now."""
    if acts is None:
        acts = services().ledger.acts([batch.id])[0]
    paused = services().pauses.over(tenant(), batch.id) if batch.open else []
    return view_batch(batch, finish_at=_finish_at(batch), acts=acts, operator_pauses=[one.view for one in paused])


def manifest_body() -> BinaryIO:
    """The request's body, on disk where the gateway keeps such bodies (api.server.body)."""
    body: BinaryIO = request.environ["wsgi.input"]
    most = services().settings.batches.max_body
    if (request.content_length or 0) > most:
        raise TooLarge(f"{request.content_length} bytes are more than the {most} of a manifest; send several batches")
    if not body.seekable():
        # another server than the gateway's, which hands the connection over
        request.max_content_length = most
        body = tempfile.TemporaryFile(prefix="wanfarm-body-")  # noqa: SIM115 - closed with the last who knows it
        shutil.copyfileobj(request.stream, body)
        body.seek(0)
    return body


def _mark(body: BinaryIO) -> str:
    """A hash of all that was asked."""
    digest = hashlib.sha256(request.mimetype.encode() + b"\n" + request.query_string + b"\n")
    body.seek(0)
    for block in iter(partial(body.read, 1 << 20), b""):
        digest.update(block)
    body.seek(0)
    return digest.hexdigest()


def _defaults(given: dict[str, str]) -> dict[str, Any]:
    """What is said once for all shots, read as the columns of a CSV are."""
    found = {}
    for name, text in given.items():
        try:
            found[name] = value_of(text, COLUMNS[name])
        except ValueError as error:
            raise InvalidRequest(str(error), name) from None
    return found


def _finish_at(batch: Batch) -> datetime | None:
    """When the last of its jobs that wait in a queue ends, if nothing changes: the GPU-seconds before it over the slots
    of its pool's live workers. None while that job is kept from starting or no worker takes it, or any job is held
    until somebody or something else lets it go; what follows others is not counted."""
    if any(count for reason, count in batch.held_for.items() if reason is not HoldReason.DEPENDENCY):
        return None
    ledger = services().ledger
    last = ledger.ids(tenant(), states=[State.QUEUED], batch=batch.id, limit=1)
    job = ledger.find(last[0]) if last else None
    stuck = job is None or services().pauses.told(job).held or not could_start(job)
    standing = None if job is None or stuck else ledger.standing(job.id)
    if job is None or standing is None or not standing.capacity:
        return None
    left_s = (standing.own_s + standing.others_s) / standing.capacity + job.predicted_s
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=left_s)


def _quote(shots: int, file: Any) -> QuoteView:
    pools = {one.pool: one for one in services().ledger.queue_numbers().pools}
    # behind all that is there, in its own pools
    ends = [_end_s(pools.get(name), gpu_s) for name, gpu_s in file.gpu_s_in.items()]
    known = [end_s for end_s in ends if end_s is not None]
    now = datetime.now(UTC).replace(microsecond=0)
    return QuoteView(
        shots=shots,
        jobs=file.jobs,
        credits=file.hold / MICRO if file.priced else None,
        gpu_s=round(file.gpu_s, 3),
        finish_at=now + timedelta(seconds=max(known)) if len(known) == len(ends) else None,
    )


def _end_s(pool: PoolNumbers | None, gpu_s: float) -> float | None:
    """Seconds until a pool has done so much behind what it has; None where nothing moves."""
    if pool is None or not pool.slots or pool.paused:
        return None
    return (pool.queued_s + pool.open_s + gpu_s) / pool.slots


def _at(batch_id: str) -> dict[str, str]:
    return {"Location": f"/v1/batches/{batch_id}"}
