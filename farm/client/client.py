"""A client of the farm's own API: a library for other programs; the command line uses it too.

    with Client("http://127.0.0.1:8000", "wf_live_...") as farm:
        job = farm.jobs.create("a fox runs through snow", model="wan2.2-ti2v-5b-tiny")
        job = farm.jobs.wait(job.id)
        farm.jobs.download(job, Path("out"))

Answers are the types of farm.wire.own_views; errors are those of farm.jobs.errors, made from the farm's problem
bodies (InvalidRequest, NotFound, Conflict, TooMany, Unavailable, ...), and Unreachable and UnexpectedAnswer of
farm.client.transport. A create carries an idempotency key, made when none is given, and only because of it is ever
sent again. Threads may share a client.
"""

import base64
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

from farm.client.admin import Admin
from farm.client.batches import Batches
from farm.client.event_stream import ServerSentEvent
from farm.client.loras import JobLora, Loras, asked
from farm.client.own_tenant import OwnTenant
from farm.client.spending import Spending
from farm.client.transport import Transport, UnexpectedAnswer, Unreachable
from farm.jobs import errors
from farm.jobs.ids import is_job_id
from farm.jobs.states import TERMINAL, State
from farm.wire.own_explain import ExplainView
from farm.wire.own_farm_views import Health, ModelList, ModelView, WorkerList, WorkerView
from farm.wire.own_views import EstimateView, JobList, JobView, UploadView
from models.catalog import ROLES

__all__ = [
    "Batches",
    "Client",
    "Event",
    "Files",
    "Input",
    "JobLora",
    "Jobs",
    "Loras",
    "Shot",
    "UnexpectedAnswer",
    "Unreachable",
    "Uploads",
]

#: an input up to this size travels inside the request, a larger one by an upload of its own
INLINE_BYTES = 2 * 1024 * 1024
_FIRST_PAUSE_S = 0.2


class Shot(TypedDict, total=False):
    """The fields of a job besides its prompt; farm.wire.own.CreateJob explains each."""

    image: "Input"
    last_image: "Input"
    image_2: "Input"
    image_3: "Input"
    video: "Input"
    mask: "Input"
    mask_video: "Input"
    pose_video: "Input"
    face_video: "Input"
    background_video: "Input"

    model: str
    task: str
    negative_prompt: str
    width: int
    height: int
    resolution: str
    aspect_ratio: str
    frames: int
    duration_s: float
    fps: int
    steps: int
    guidance: float
    guidance_2: float
    shift: float
    seed: int
    loras: Sequence[JobLora]
    options: Mapping[str, str | float | bool | list[int]]
    priority: int
    deadline: datetime | str
    tier: str
    start_by: datetime | str
    max_attempts: int
    name: str
    metadata: Mapping[str, str]
    webhook_url: str
    label: str
    external: str


#: a picture or a clip: a file, its bytes, an http(s) or data: address, or an upload that was made before. Text that is
#: no address is a file's path
Input = Path | bytes | str | UploadView


@dataclass(frozen=True)
class Event:
    """Something happened to a job. `id` resumes a stream after it; `kind` is the event's name."""

    id: str
    kind: str
    job: str | None
    data: Mapping[str, Any]

    @property
    def over(self) -> bool:
        """The job has ended, whichever way."""
        return self.data.get("state") in TERMINAL


@dataclass(frozen=True)
class Files:
    """A downloaded result."""

    video: Path
    poster: Path
    recipe: Path


class Client:
    """`timeout_s` is for one answer, `patience_s` for all tries of one call."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 30.0, patience_s: float = 30.0) -> None:
        self._transport = Transport(url, key, timeout_s=timeout_s, patience_s=patience_s)
        self.url, self.key = self._transport.url, key
        self.jobs = Jobs(self._transport)
        self.batches = Batches(self._transport)
        self.uploads = Uploads(self._transport)
        self.loras = Loras(self._transport)
        self.tenant = OwnTenant(self._transport)
        self.admin = Admin(self._transport)
        self.spending = Spending(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def models(self) -> list[ModelView]:
        """Every model of the catalog; `available` says whether a worker renders it now. OpenAI's names for one of them
        are left out."""
        return [model for model in self._transport.ask(ModelList, "GET", "/v1/models").data if model.alias_of is None]

    def workers(self) -> list[WorkerView]:
        """What each live worker last said of itself. For an operator's key; Forbidden with another."""
        found: list[WorkerView] = []
        query: dict[str, str] = {}
        while True:
            page = self._transport.ask(WorkerList, "GET", "/v1/workers", params=query)
            found += page.data
            if page.next_cursor is None:
                return found
            query = {"cursor": page.next_cursor}

    def health(self) -> Health:
        """Every part of the farm and its state. `status` is "accepting" when jobs would wait, and "unready" when
        none can be taken; neither is an error."""
        return self._transport.ask(Health, "GET", "/v1/health/ready", once=True, accept=(503,))


class Jobs:
    """`farm.jobs`: everything about jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        prompt: str,
        *,
        idempotency_key: str | None = None,
        **shot: Unpack[Shot],
    ) -> JobView:
        """Submit one job; what is left out is the model's default.

            farm.jobs.create("the fox looks up", image=Path("fox.jpg"), frames=49)

        Raises InvalidRequest with the field that is wrong, Conflict when `idempotency_key` was used for another job.
        """
        if idempotency_key is not None and not (idempotency_key.isascii() and idempotency_key.isprintable()):
            raise errors.InvalidRequest(
                "travels in a header, which holds printable ASCII only: leave out accents, emoji and line ends",
                "idempotency_key",
            )
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._transport.ask(JobView, "POST", "/v1/jobs", json=_body(prompt, shot, self._input), headers=headers)

    def estimate(self, prompt: str, **shot: Unpack[Shot]) -> EstimateView:
        """What the job would be and take; nothing is made. Inputs are not sent: whether they can be used, create says.

        Raises as create does.
        """
        # any id will do for a file that is not looked at
        body = _body(prompt, shot, lambda _: {"upload": uuid.UUID(int=0).hex})
        return self._transport.ask(EstimateView, "POST", "/v1/jobs/estimate", json=body)

    def made_with(self, idempotency_key: str) -> JobView | None:
        """The job that was made with this key in the last 24 hours."""
        found = self._transport.ask(JobList, "GET", "/v1/jobs", params={"idempotency_key": idempotency_key}).data
        return found[0] if found else None

    def get(self, job_id: str) -> JobView:
        """NotFound also for a job of somebody else."""
        return self._transport.ask(JobView, "GET", _job_path(job_id))

    def explain(self, job_id: str) -> ExplainView:
        """Why a job does not run yet: what is before it, which limit binds, what would change it."""
        return self._transport.ask(ExplainView, "GET", f"{_job_path(job_id)}/explain")

    def list(
        self,
        *,
        state: State | str | Sequence[State | str] | None = None,
        model: str | None = None,
        label: str | None = None,
        page: int = 50,
    ) -> Iterator[JobView]:
        """Newest first, page by page as it is read. `state`: one, or several.

        for job in farm.jobs.list(state="failed"): ...
        """
        query: dict[str, Any] = {"state": state, "model": model, "label": label, "limit": page}
        query = {name: value for name, value in query.items() if value is not None}
        while True:
            answer = self._transport.ask(JobList, "GET", "/v1/jobs", params=query)
            yield from answer.data
            if answer.next_cursor is None:
                return
            query["cursor"] = answer.next_cursor

    def cancel(self, job_id: str) -> JobView:
        """A running job stops within one step. Conflict when it is over already."""
        return self._transport.ask(JobView, "POST", f"{_job_path(job_id)}/cancel")

    def events(
        self, job_id: str | None = None, *, after: str | None = None, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[Event]:
        """What happens to one job until it is over, or to all of yours for ever. `after`: the id of the last event
        that you have seen. Broken connections are opened again where they broke, so none is missed or told twice.
        `stop` is asked before that.

            for event in farm.jobs.events(job.id):
                print(event.data["state"], event.data.get("progress"))
        """
        path = "/v1/events" if job_id is None else f"{_job_path(job_id)}/events"
        for message in self._transport.messages(path, after, stop):
            event = _event(message)
            yield event
            if job_id is not None and event.over:
                return

    def wait(
        self, job_id: str, *, timeout_s: float | None = None, on_change: Callable[[JobView], None] | None = None
    ) -> JobView:
        """The job as it ended, whichever way that is: look at `state` and `error`. TimeoutError after `timeout_s`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s, seen = _FIRST_PAUSE_S, None
        while True:
            job = self.get(job_id)
            if on_change is not None and job != seen:
                on_change(job)
                seen = job
            if job.over:
                return job
            if end is not None and time.monotonic() + pause_s > end:
                raise TimeoutError(f"job {job_id} is still {job.state} after {timeout_s} s")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.3, 2.0)

    def download(self, job: JobView | str, folder: Path | str, *, stem: str | None = None) -> Files:
        """Fetch video, poster and recipe into `folder` as STEM.mp4, STEM.jpg and STEM.json (default: the job's id).

        The video is checked against the size and sha256 that the farm committed. Conflict when there is no result.
        """
        # the addresses in a job that was got long ago may have ended: ask for fresh ones
        job = self.get(job if isinstance(job, str) else job.id)
        if job.result is None:
            raise errors.Conflict(f"job {job.id} is {job.state}: there is nothing to download")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = stem or job.id
        files = Files(folder / f"{name}.mp4", folder / f"{name}.jpg", folder / f"{name}.json")
        self._transport.fetch(job.result.poster_url, files.poster)
        self._transport.fetch(job.result.recipe_url, files.recipe)
        self._transport.fetch(job.result.video_url, files.video, sha256=job.result.sha256)
        return files

    def _input(self, content: Path | bytes) -> Any:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size > INLINE_BYTES:
            return {"upload": Uploads(self._transport).put(content).id}
        data = content if isinstance(content, bytes) else content.read_bytes()
        return {"base64": base64.b64encode(data).decode()}


class Uploads:
    """`farm.storage.uploads`: inputs that are too large for a request."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, content: Path | str | bytes) -> UploadView:
        """Store a file's content and return what names it: `farm.jobs.create(..., image=upload)`."""
        data = content if isinstance(content, bytes) else Path(content).read_bytes()
        upload = self._transport.ask(UploadView, "POST", "/v1/uploads", json={"size": len(data)})
        self._transport.store(upload.url, data)
        return upload


def _body(prompt: str, shot: Shot, send: Callable[[Path | bytes], Any]) -> dict[str, Any]:
    """The JSON of a create request. `send` makes what names a file's content."""
    body: dict[str, Any] = {"prompt": prompt, **shot}
    for name in ("deadline", "start_by"):
        if isinstance(time := shot.get(name), datetime):
            body[name] = time.isoformat()
    if isinstance(loras := shot.get("loras"), Sequence) and not isinstance(loras, str):
        body["loras"] = asked(loras)
    for role in ROLES:
        if body.get(role) is not None:
            given = _given(body[role], role)
            body[role] = send(given) if isinstance(given, Path | bytes) else given
    return body


def _given(given: Any, role: str) -> Any:
    """A Path or bytes where the content has to be sent; else what the farm is told as it is."""
    if isinstance(given, UploadView):
        return {"upload": given.id}
    if isinstance(given, str):
        if given.partition("://")[0].lower() in ("http", "https") or given[:5].lower() == "data:":
            return given
        given = Path(given).expanduser()
    if isinstance(given, Path) and not given.is_file():
        raise errors.InvalidRequest(f"there is no file {str(given)!r}, and it is no http(s) address", role)
    return given


def _event(message: ServerSentEvent) -> Event:
    try:
        data = json.loads(message.data)
    except ValueError:
        raise UnexpectedAnswer("an event that is not JSON") from None
    if not isinstance(data, dict):
        raise UnexpectedAnswer("an event that is not a JSON object")
    return Event(message.id or "", message.event, data.get("id") or data.get("job"), data)


def _job_path(job_id: str) -> str:
    if not is_job_id(job_id):
        raise errors.NotFound(f"no job {job_id!r}")
    return f"/v1/jobs/{job_id}"
