"""wiro.ai: seeds/wiro.md. Everything is POST, every number is text, errors are HTTP 200 with result false."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tools.provider_simulator.dialects.base import (
    Answered,
    ApiCall,
    Json,
    Request,
    SaysNo,
    SimulatedDialect,
    need,
    shape_of,
)
from tools.provider_simulator.task import ClipShape, Ordered, Task

_CODES = {
    "key": (401, 0, "Project authorization is not founded."),
    "credit": (200, 97, "Insufficient balance"),
    "busy": (200, 96, "You have reached your concurrent task limit"),
    "maintenance": (503, 0, "Service is not available."),
    "server": (500, 0, "Internal server error"),
    "model": (200, 1, "slug-owner-project-not-exist"),
    "input": (200, 0, "Request parameter is wrong"),
    "unknown": (200, 1, "There is no task yet."),
}


class SimulatedWiro(SimulatedDialect):
    name = "wiro"
    prices: ClassVar[Mapping[str, float]] = {"480p": 0.012, "580p": 0.018, "720p": 0.026}

    def call(self, request: Request) -> ApiCall | None:
        """POST and nothing else."""
        if request.method != "POST":
            return None
        if made := re.fullmatch(r"/v1/Run/([^/]+/[^/]+)", request.path):
            return ApiCall("create", made[1])
        name = str(request.body.get("taskid") or request.body.get("tasktoken") or request.body.get("socketaccesstoken"))
        return {
            "/v1/Task/Detail": ApiCall("status", name),
            "/v1/Task/Cancel": ApiCall("cancel", name),
            "/v1/Task/Kill": ApiCall("kill", name),
            "/v1/Task/List": ApiCall("list"),
            "/v1/File/Upload": ApiCall("upload", "file"),
        }.get(request.path)

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """x-api-key, and a signature where the project has a secret."""
        if request.headers.get("x-api-key") != key:
            raise SaysNo("key")
        if secret is None:
            return
        nonce, given = request.headers.get("x-nonce", ""), request.headers.get("x-signature", "")
        if not nonce or not given:
            words = "Project requires signature authentication. x-signature and x-nonce headers are required."
            raise SaysNo("key", words)
        wanted = hmac.new(key.encode(), (secret + nonce).encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, given):
            raise SaysNo("key", "Project authorization is not valid.")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """The inputs that the model's page lists."""
        body = request.body
        if call.what.lower() != "wan-ai/wan2.2-i2v-a14b":
            raise SaysNo("model")
        need(body, "inputImageUrl", "prompt")
        resolution = str(body.get("resolution") or "480P").lower()
        if resolution not in self.prices:
            raise SaysNo("input", "Request parameter [resolution] required")
        try:
            frames, fps = int(body.get("numFrames") or 81), int(body.get("fps") or 16)
            float(body.get("scale") or 5.0), int(body.get("steps") or 25)
        except (TypeError, ValueError):
            raise SaysNo("input", "Request parameter [numFrames] must be integer or float") from None
        shape = shape_of(resolution, body.get("aspectRatio"))
        return Ordered(
            model=call.what,
            request=body,
            prompt=str(body["prompt"]),
            resolution=resolution,
            seconds=round(frames / fps, 1),
            shape=ClipShape(shape.width, shape.height, frames, fps),
            callback_url=body.get("callbackUrl") or None,
        )

    def new_id(self, number: int) -> str:
        """A number as text."""
        return str(2221 + number)

    def created(self, task: Task) -> Answered:
        """taskid and socketaccesstoken."""
        return Answered(200, {"errors": [], "taskid": task.id, "socketaccesstoken": task.token, "result": True})

    def told(self, task: Task, now: float, url: str) -> Answered:
        """Task/Detail."""
        return Answered(200, {"total": "1", "errors": [], "tasklist": [self._task(task, now, url)], "result": True})

    def _task(self, task: Task, now: float, url: str) -> Json:
        state = task.state(now)
        over = state in ("success", "fail")
        words = {"queued": "task_queue", "running": "task_output", "cancelled": "task_cancel"}
        status = words.get(state, "task_postprocess_end")
        made = str(int(task.created))
        end = str(int(task.ends)) if over else "0"
        output = {
            "id": "6bc392c93856dfce3a7d1b4261e15af3",
            "name": "0.mp4",
            "contenttype": "video/mp4",
            "parentid": "6c1833f39da71e6175bf292b18779baf",
            "uuid": "15bce51f-442f-4f44-a71d-13c6374a62bd",
            "size": "202472",
            "addedtime": end,
            "modifiedtime": end,
            "accesskey": "dFKlMApaSgMeHKsJyaDeKrefcHahUK",
            "url": url,
        }
        return {
            "id": task.id,
            "uuid": "15bce51f-442f-4f44-a71d-13c6374a62bd",
            "socketaccesstoken": task.token,
            "parameters": task.asked.request,
            "debugoutput": "",
            "debugerror": "CUDA error" if state == "fail" else "",
            "starttime": "0" if state == "queued" else str(int(task.starts)),
            "endtime": end,
            "elapsedseconds": f"{task.ends - task.created:.4f}" if over else "0",
            "status": task.word if task.word and not over else status,
            "cps": "0.000585000000",
            "totalcost": f"{task.charged(now) / 1e6:.12f}" if over else "0",
            "createtime": made,
            "canceltime": made if state == "cancelled" else "0",
            "assigntime": made,
            "accepttime": made,
            "preprocessstarttime": made,
            "preprocessendtime": made,
            "postprocessstarttime": end,
            "postprocessendtime": end,
            "pexit": {"success": "0", "fail": "1"}.get(state, ""),
            "outputs": [output] if state == "success" else [],
            "size": "202472" if state == "success" else "0",
        }

    def callback(self, task: Task, now: float, url: str) -> Any:
        """Undocumented for runs of models: Task/Detail's answer."""
        return self.told(task, now, url).body

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """result false and one error."""
        status, code, words = _CODES[no.kind]
        message = str(no) if str(no) != no.kind else words
        return Answered(status, {"result": False, "errors": [{"code": code, "message": message}]}, no.headers)

    def uploaded(self, url: str, name: str, size: int) -> Answered:
        """A list of one."""
        one = {"id": "f1", "name": name, "contenttype": "image/png", "size": str(size), "parentid": "0", "url": url}
        made = one | {"addedtime": "1734513807", "accesskey": "k"}
        return Answered(200, {"result": True, "errors": [], "list": [made]})

    def cancellable(self, call: ApiCall, task: Task, now: float) -> bool:
        """Cancel in the queue, Kill after it."""
        state = task.state(now)
        return state == "queued" if call.action == "cancel" else state == "running"

    def cancelled(self, task: Task, now: float) -> Answered:
        """The task, as it is now."""
        return Answered(200, {"errors": [], "tasklist": [self._task(task, now, "")], "result": True})

    def listed(self, tasks: list[Task], now: float) -> Answered:
        """The newest 20."""
        shown = [self._task(task, now, "") for task in tasks[:20]]
        return Answered(200, {"total": str(len(tasks)), "errors": [], "tasklist": shown, "result": True})
