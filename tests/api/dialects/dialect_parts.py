"""What the tests of the dialects share: a worker's moves with intake, and each dialect as a client uses it."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from werkzeug.test import TestResponse

from farm.jobs.errors import FarmError, FaultCode, JobFault
from farm.jobs.spec import InputRef
from farm.ledger.ledger import INTAKE_POOL
from farm.wire import apixo, crun, kie, model_ids, openai, selfhosted, wiro, wiro_task
from farm.wire.report import Report
from tests.api.api_parts import Caller, Hand

T2V, I2V, ANIMATE = "wan2.2-t2v-a14b-4step-tiny", "wan2.2-i2v-a14b-tiny", model_ids.ANIMATE
#: where every name of the internet leads in these tests; nobody dials it
PUBLIC = "93.184.216.34"
PICTURE, CLIP = "https://example.com/character.png", "https://example.com/motion.mp4"
SLUG = "Wan-AI/Wan2.2-I2V-A14B"


def clip(seconds: int = 1, fps: int = 16) -> bytes:
    """A real MP4 of plain pictures."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream: Any = box.add_stream("libx264", rate=fps)
        stream.width = stream.height = 64
        for n in range(seconds * fps):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), n * 8 % 256, np.uint8), "rgb24")
            box.mux(stream.encode(frame))
        box.mux(stream.encode())
    return out.getvalue()


class Worker(Hand):
    """The hand of the gateway's tests, which also takes inputs in."""

    def take_in(self) -> None:
        """Intake of every waiting job, as if what its addresses name were there."""
        while (claim := self.ledger.claim(INTAKE_POOL, "desk")) is not None:
            inputs = {
                role: InputRef(
                    sha256="ab" * 32, key=f"inputs/{claim.job.tenant}/x", content_type="x/y", size=1,
                    width=64, height=64,
                    seconds=4.0 if role == "video" else None,
                )
                for role in claim.job.spec.inputs
            }  # fmt: skip
            self.ledger.intake_done(claim.job.id, claim.attempt, inputs)

    def render(self) -> None:
        self.take_in()
        self.finish(self.claim())

    def spoil(self) -> None:
        self.take_in()
        claim = self.claim()
        self.ledger.fail(claim.job.id, claim.attempt, JobFault(FaultCode.INVALID_INPUT, "no person in the clip"))


@dataclass(frozen=True)
class Client:
    """One dialect as its clients use it. `key`: header that carries the key; `bad`: a body that cannot be right."""

    name: str
    key: Callable[[str], dict[str, str]]
    path: str
    body: Mapping[str, Any]
    bad: Mapping[str, Any]
    created: Callable[[Any], str]
    status: Callable[[str], tuple[str, str, Any]]
    report: Callable[[Any], Report]
    error: Callable[[int, Any, Mapping[str, str]], FarmError | None]
    unknown: str
    envelope: Callable[[Any], bool]
    callback: tuple[str, ...] = ()
    parse_callback: Callable[[Any], Report] | None = None
    cancel: Callable[[str], tuple[str, str, Any]] | None = None

    def submit(
        self, caller: Caller, *, callback: str | None = None, body: Mapping[str, Any] | None = None
    ) -> TestResponse:
        asked = json.loads(json.dumps(self.body if body is None else body))
        if callback:
            *parents, name = self.callback
            where = asked
            for parent in parents:
                where = where[parent]
            where[name] = callback
        return self.ask(caller, ("POST", self.path, asked))

    def ask(self, caller: Caller, what: tuple[str, str, Any]) -> TestResponse:
        method, path, body = what
        more = {} if body is None else {"json": body}
        return caller.client.open(path, method=method, headers=self.key(caller.key), **more)

    def look(self, caller: Caller, task_id: str) -> TestResponse:
        return self.ask(caller, self.status(task_id))

    def made(self, caller: Caller, **more: Any) -> str:
        answer = self.submit(caller, **more)
        assert answer.status_code == 200, answer.text
        return self.created(answer.json)

    def told(self, caller: Caller, task_id: str) -> Report:
        answer = self.look(caller, task_id)
        assert answer.status_code == 200, answer.text
        return self.report(answer.json)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def x_api_key(key: str) -> dict[str, str]:
    return {"x-api-key": key}


def keys(*names: str) -> Callable[[Any], bool]:
    return lambda body: isinstance(body, dict) and set(names) <= set(body)


KIE = Client(
    name="kie",
    key=bearer,
    path="/api/v1/jobs/createTask",
    body={"model": "wan/2-2-a14b-text-to-video-turbo", "input": {"prompt": "a fox", "resolution": "480p"}},
    bad={"model": "wan/2-2-a14b-text-to-video-turbo", "input": {"prompt": "a fox", "seed": "many"}},
    created=kie.parse_created,
    status=lambda task: ("GET", f"/api/v1/jobs/recordInfo?taskId={task}", None),
    report=kie.parse_status,
    error=kie.parse_error,
    unknown="test",
    envelope=keys("code", "msg", "message", "data"),
    callback=("callBackUrl",),
    parse_callback=kie.parse_callback,
)
APIXO = Client(
    name="apixo",
    key=bearer,
    path="/api/v1/generateTask/wan-2-2-animate",
    body={"request_type": "callback", "callback_url": "https://example.com/hook",
          "input": {"type": "animate", "mode": "standard", "image_urls": [PICTURE], "video_urls": [CLIP]}},
    bad={"input": {"type": "animate", "image_urls": [], "video_urls": [CLIP]}},
    created=apixo.parse_created,
    status=lambda task: ("GET", f"/api/v1/statusTask/wan-2-2-animate?taskId={task}", None),
    report=apixo.parse_status,
    error=apixo.parse_error,
    unknown="task_12345678",
    envelope=keys("code", "message", "data"),
    callback=("callback_url",),
    parse_callback=apixo.parse_callback,
)  # fmt: skip
CRUN = Client(
    name="crun",
    key=x_api_key,
    path="/api/v1/client/job/CreateTask",
    body={
        "model": "wan/2-2-animate-replace",
        "input": {"img_urls": [PICTURE], "video_urls": [CLIP], "resolution": "720P"},
    },
    bad={"model": "wan/2-2-animate-replace", "input": "none"},
    created=crun.parse_created,
    status=lambda task: ("GET", f"/api/v1/client/job/TaskInfo?task_id={task}", None),
    report=crun.parse_status,
    error=crun.parse_error,
    unknown="task_12345678",
    envelope=keys("code", "message"),
    callback=("callback_url",),
    parse_callback=crun.parse_callback,
)
WIRO = Client(
    name="wiro",
    key=x_api_key,
    path=f"/v1/Run/{SLUG}",
    body={
        "inputImageUrl": PICTURE,
        "prompt": "a man reads",
        "resolution": "480P",
        "seed": "42",
        "steps": 4,
        "numFrames": "17",
    },
    bad={"inputImageUrl": PICTURE, "prompt": "a man reads", "steps": "many"},
    created=lambda body: wiro.parse_created(body)[0],
    status=lambda task: ("POST", "/v1/Task/Detail", {"taskid": task}),
    report=wiro_task.parse_status,
    error=wiro.parse_error,
    unknown="2221",
    envelope=keys("result", "errors"),
    callback=("callbackUrl",),
    parse_callback=wiro_task.parse_callback,
    cancel=lambda task: ("POST", "/v1/Task/Kill", {"taskid": task}),
)
OPENAI = Client(
    name="openai",
    key=bearer,
    path="/v1/videos",
    body={"model": "sora-2", "prompt": "a fox", "size": "128x128"},
    bad={"prompt": "a fox", "size": "huge"},
    created=openai.parse_created,
    status=lambda task: ("GET", f"/v1/videos/{task}", None),
    report=openai.parse_status,
    error=openai.parse_error,
    unknown="video_123",
    envelope=keys("error"),
    cancel=lambda task: ("DELETE", f"/v1/videos/{task}", None),
)
SELFHOSTED = Client(
    name="selfhosted",
    key=x_api_key,
    path="/generate",
    body={"prompt": "a fox"},
    bad={"prompt": ""},
    created=lambda body: str(body["job_id"]),
    status=lambda task: ("GET", f"/status/{task}", None),
    report=selfhosted.parse_status,
    error=selfhosted.parse_error,
    unknown="550e8400-e29b-41d4-a716-446655440000",
    envelope=keys("detail"),
)
CLIENTS = (KIE, APIXO, CRUN, WIRO, OPENAI, SELFHOSTED)
