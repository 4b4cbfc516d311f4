"""apixo.ai: seeds/apixo.md. HTTP statuses are real; billed are 5 to 120 seconds."""

import re
from typing import Any

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
    "key": (401, "Invalid or missing API Key"),
    "credit": (402, "Insufficient balance"),
    "busy": (429, "Rate limit exceeded"),
    "maintenance": (503, "Service unavailable"),
    "server": (500, "Internal server error"),
    "model": (404, "Model not found"),
    "input": (400, "Invalid request"),
    "unknown": (404, "Task not found"),
}
_WORDS = {"queued": "pending", "running": "processing", "success": "success", "fail": "failed"}


class SimulatedApixo(SimulatedDialect):
    name = "apixo"
    billed = (5.0, 120.0)

    def call(self, request: Request) -> ApiCall | None:
        """The model is in the path, also when a task is asked for."""
        if request.method == "POST" and (made := re.fullmatch(r"/api/v1/generateTask/([^/]+)", request.path)):
            return ApiCall("create", made[1])
        if request.method == "GET" and re.fullmatch(r"/api/v1/statusTask/[^/]+", request.path):
            return ApiCall("status", request.query.get("taskId", ""))
        if (request.method, request.path) == ("GET", "/api/v1/apikeys/current-balance"):
            return ApiCall("balance")
        return None

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """A bearer token."""
        if request.headers.get("authorization") != f"Bearer {key}":
            raise SaysNo("key")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """`request_type`, `provider`, `input`."""
        body = request.body
        given = body.get("input")
        if not isinstance(given, dict):
            raise SaysNo("input", "Missing required field: input")
        if body.get("request_type", "async") not in ("async", "callback"):
            raise SaysNo("input", "request_type must be async or callback")
        if body.get("request_type") == "callback":
            need(body, "callback_url")
        if body.get("provider", "auto") not in ("auto", "value", "official"):
            raise SaysNo("input", "provider must be auto, value or official")
        if call.what != "wan-2-2-animate":
            raise SaysNo("model")
        if given.get("mode") != "standard" or given.get("type") not in ("animate", "replace"):
            raise SaysNo("input", "input.mode and input.type")
        if any(not isinstance(given.get(name), list) or len(given[name]) != 1 for name in ("image_urls", "video_urls")):
            raise SaysNo("input", "image_urls and video_urls each require exactly one URL")
        if given.get("prompt", "x") == "":
            raise SaysNo("input", "input.prompt")
        resolution = given.get("resolution", "480p")
        if resolution not in ("480p", "720p"):
            raise SaysNo("input", "input.resolution")
        return Ordered(
            model=call.what,
            request=body,
            prompt=str(given.get("prompt") or ""),
            resolution=resolution,
            seconds=5.0,
            shape=shape_of(resolution, None),
            callback_url=body.get("callback_url") if body.get("request_type") == "callback" else None,
        )

    def new_id(self, number: int) -> str:
        """task_ and 8 digits."""
        return f"task_{12_345_678 + number}"

    def created(self, task: Task) -> Answered:
        """taskId."""
        return Answered(200, {"code": 200, "message": "success", "data": {"taskId": task.id}})

    def told(self, task: Task, now: float, url: str) -> Answered:
        """statusTask."""
        return Answered(200, self.callback(task, now, url))

    def callback(self, task: Task, now: float, url: str) -> Any:
        """The same envelope, with code 200 also for a failure."""
        state = task.state(now)
        over = state in ("success", "fail")
        data: Json = {"taskId": task.id, "state": _WORDS[state] if over or not task.word else task.word}
        data["createTime"] = round(task.created * 1000)
        if over:
            data["completeTime"] = round(task.ends * 1000)
            data["costTime"] = round((task.ends - task.created) * 1000)
        if state == "success":
            data["resultJson"] = dumps({"resultUrls": [url]})
        if state == "fail":
            data |= {"failCode": task.fail_code or "GENERATION_FAILED", "failMsg": "Video generation failed"}
        return {"code": 200, "message": "success", "data": data}

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """The HTTP status, and again in the body."""
        code, words = _CODES[no.kind]
        said = str(no) if str(no) != no.kind else words
        return Answered(code, {"code": code, "message": words, "data": {"error": said}}, no.headers)

    def balance(self, units_micro: int) -> Answered:
        """Its shape is not published."""
        return Answered(200, {"code": 200, "message": "success", "data": {"balance": units_micro / 1e6}})
