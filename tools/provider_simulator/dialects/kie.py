"""kie.ai: seeds/kie.md and its public documents. Errors come as HTTP 200 with a code of their own."""

import json
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
from tools.provider_simulator.task import Ordered, Task, dumps

_CODES = {
    "key": (401, 401, "You do not have access permissions"),
    "credit": (200, 402, "Credits insufficient"),
    "busy": (429, 429, "Your call frequency is too high. Please try again later."),
    "maintenance": (200, 455, "The service is currently under maintenance"),
    "server": (500, 500, "Server exception, please try again later"),
    "model": (200, 422, "The model name you specified is not supported"),
    "input": (200, 422, "This field is required"),
    "unknown": (200, 422, "recordInfo is null"),
}
_INPUTS = {
    "wan/2-2-animate-move": ("image_url", "video_url"),
    "wan/2-2-animate-replace": ("image_url", "video_url"),
    "wan/2-2-a14b-text-to-video-turbo": ("prompt",),
    "wan/2-2-a14b-image-to-video-turbo": ("image_url", "prompt"),
    "wan/2-6-text-to-video": ("prompt",),
}
_WORDS = {"queued": "waiting", "running": "generating", "success": "success", "fail": "fail"}


class SimulatedKie(SimulatedDialect):
    name = "kie"
    unit_usd = 0.005
    prices: ClassVar[Mapping[str, float]] = {"480p": 8.0, "580p": 12.0, "720p": 16.0}

    def call(self, request: Request) -> ApiCall | None:
        """As its document has the paths."""
        match request.method, request.path:
            case "POST", "/api/v1/jobs/createTask":
                return ApiCall("create", str(request.body.get("model") or ""))
            case "GET", "/api/v1/jobs/recordInfo":
                return ApiCall("status", request.query.get("taskId", ""))
            case "GET", "/api/v1/chat/credit":
                return ApiCall("balance")
            case "POST", "/api/file-base64-upload":
                return ApiCall("upload", str(request.body.get("fileName") or "file"))
        return None

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """A bearer token."""
        if request.headers.get("authorization") != f"Bearer {key}":
            raise SaysNo("key")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """`model`, `input`, `callBackUrl`."""
        given = request.body.get("input")
        if not isinstance(given, dict):
            raise SaysNo("input", "input cannot be null")
        if call.what not in _INPUTS:
            raise SaysNo("model")
        need(given, *_INPUTS[call.what])
        animate = "animate" in call.what
        resolution = str(given.get("resolution") or ("480p" if animate else "720p"))
        if resolution not in self.prices:
            raise SaysNo("input", "resolution is not within the range of allowed options")
        shape = shape_of(resolution, given.get("aspect_ratio"))
        return Ordered(
            model=call.what,
            request=request.body,
            prompt=str(given.get("prompt") or ""),
            resolution=resolution,
            seconds=float(given.get("duration") or 5),
            shape=shape,
            callback_url=request.body.get("callBackUrl"),
        )

    def new_id(self, number: int) -> str:
        """task_wan_ and 13 digits."""
        return f"task_wan_{1_765_184_995_754 + number}"

    def created(self, task: Task) -> Answered:
        """taskId."""
        return Answered(200, {"code": 200, "msg": "success", "data": {"taskId": task.id}})

    def told(self, task: Task, now: float, url: str) -> Answered:
        """recordInfo."""
        return Answered(200, {"code": 200, "message": "success", "data": self._record(task, now, url)})

    def _record(self, task: Task, now: float, url: str) -> Json:
        state, over = task.state(now), task.state(now) in ("success", "fail")
        failed = state == "fail"
        result: Any = dumps({"resultUrls": [url]}) if state == "success" else ""
        return {
            "taskId": task.id,
            "model": task.asked.model,
            "state": _WORDS[state] if over or not task.word else task.word,
            "param": json.dumps(task.asked.request),
            "resultJson": result,
            "failCode": (task.fail_code or "500") if failed else "",
            "failMsg": "Internal Error, Please try again later." if failed else "",
            "costTime": round((task.ends - task.created) * 1000) if over else None,
            "completeTime": round(task.ends * 1000) if over else None,
            "createTime": round(task.created * 1000),
            "updateTime": round(now * 1000),
            "consumeCredits": task.charged(now) / 1e6 if over else None,
        }

    def callback(self, task: Task, now: float, url: str) -> Any:
        """The record again; a failure has code 501."""
        failed = task.state(now) == "fail"
        said = "Playground task failed." if failed else "Playground task completed successfully."
        data = self._record(task, now, url) | {"task_id": task.id}
        return {"code": 501 if failed else 200, "msg": said, "data": data}

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """The code says it, the HTTP status rarely."""
        status, code, words = _CODES[no.kind]
        return Answered(
            status, {"code": code, "msg": str(no) if str(no) != no.kind else words, "data": None}, no.headers
        )

    def balance(self, units_micro: int) -> Answered:
        """A bare number."""
        return Answered(200, {"code": 200, "msg": "success", "data": units_micro / 1e6})

    def uploaded(self, url: str, name: str, size: int) -> Answered:
        """downloadUrl."""
        stored = {"fileName": name, "filePath": f"wanfarm/{name}", "downloadUrl": url, "fileSize": size}
        data = stored | {"mimeType": "image/png", "uploadedAt": "2026-01-01T00:00:00.000Z"}
        return Answered(200, {"success": True, "code": 200, "msg": "File uploaded successfully", "data": data})
