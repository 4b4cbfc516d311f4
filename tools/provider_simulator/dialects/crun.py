"""crun.ai: seeds/crun.md and its strict client's schema: `param` is an object, times are seconds, ids are UUIDs."""

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from tools.provider_simulator.dialects.base import (
    Answered,
    ApiCall,
    Json,
    Request,
    SaysNo,
    SimulatedDialect,
    shape_of,
)
from tools.provider_simulator.task import Ordered, Task

_CODES = {
    "key": (401, "API key missing"),
    "credit": (402, "Insufficient Credits"),
    "busy": (429, "Rate Limited"),
    "maintenance": (455, "Service Unavailable"),
    "server": (500, "Server Error"),
    "model": (422, "Missing Params or Type Error"),
    "input": (422, "Missing Params or Type Error"),
    "unknown": (404, "Task not found"),
}
_WORDS = {"queued": "pending", "running": "running", "success": "success", "fail": "failed"}
_MODELS = ("wan/2-2-animate-replace", "wan/2-2-animate-move")
_HERE = uuid.UUID("6f1f5a0e-8f2b-4a0c-9d59-0f8f4f0a1c11")


class SimulatedCrun(SimulatedDialect):
    name = "crun"
    unit_usd = 0.005
    prices: ClassVar[Mapping[str, float]] = {"480p": 6.0, "580p": 9.5, "720p": 12.5}

    def call(self, request: Request) -> ApiCall | None:
        """All below /api/v1/client."""
        match request.method, request.path:
            case "POST", "/api/v1/client/job/CreateTask":
                return ApiCall("create", str(request.body.get("model") or ""))
            case "POST", "/api/v1/client/job/estimate-credits":
                return ApiCall("estimate", str(request.body.get("model") or ""))
            case "GET", "/api/v1/client/job/TaskInfo":
                return ApiCall("status", request.query.get("task_id", ""))
            case "GET", "/api/v1/client/account/balance":
                return ApiCall("balance")
        return None

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """X-API-KEY in any case."""
        if request.headers.get("x-api-key") != key:
            raise SaysNo("key")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """`model`, `input`, `callback_url`."""
        given = request.body.get("input")
        if not isinstance(given, dict):
            raise SaysNo("input", "input: Field required")
        if call.what not in _MODELS:
            raise SaysNo("model", f"model: unexpected value {call.what}")
        if any(not isinstance(given.get(name), list) or len(given[name]) != 1 for name in ("img_urls", "video_urls")):
            raise SaysNo("input", "img_urls, video_urls: Field required")
        resolution = str(given.get("resolution") or "720P").lower()
        if resolution not in self.prices:
            raise SaysNo("input", "resolution")
        return Ordered(
            model=call.what,
            request=request.body,
            prompt=str(given.get("prompt") or ""),
            resolution=resolution,
            seconds=5.0,
            shape=shape_of(resolution, None),
            callback_url=request.body.get("callback_url"),
        )

    def new_id(self, number: int) -> str:
        """36 characters."""
        return str(uuid.uuid5(_HERE, str(number)))

    def created(self, task: Task) -> Answered:
        """task_id."""
        return Answered(200, {"code": 200, "message": "success", "data": {"task_id": task.id}})

    def told(self, task: Task, now: float, url: str) -> Answered:
        """TaskInfo."""
        return Answered(200, {"code": 200, "message": "success", "data": self.callback(task, now, url)})

    def callback(self, task: Task, now: float, url: str) -> Any:
        """TaskInfo's data without its envelope."""
        state = task.state(now)
        over = state in ("success", "fail")
        result: Json | None = None
        if over:
            good = state == "success"
            result = {
                "code": 200 if good else int(task.fail_code or 501),
                "message": "success" if good else "Generation failed",
                "media_urls": [url] if good else [],
            }
        request = task.asked.request
        return {
            "task_id": task.id,
            "provider": "Alibaba",
            "model_version": task.asked.model,
            "status": _WORDS[state] if over or not task.word else task.word,
            "param": {"model": task.asked.model, "callback_url": task.asked.callback_url, "input": request["input"]},
            "create_at": int(task.created),
            "complete_at": int(task.ends) if over else None,
            "duration_s": max(1, int(task.ends - task.created)) if over else None,
            "source": "api",
            "credits": (task.charged(now) if over else task.cost) / 1e6,
            "result": result,
        }

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """HTTP status and code agree; a validation error has a list."""
        code, words = _CODES[no.kind]
        body: Json = {"code": code, "message": words}
        body |= {"errors": [str(no)]} if code == 422 else {"data": None}
        return Answered(code, body, no.headers)

    def balance(self, units_micro: int) -> Answered:
        """balance, in credits."""
        return Answered(200, {"code": 200, "message": "success", "data": {"balance": units_micro / 1e6}})

    def estimate(self, cost: int) -> Answered:
        """estimated: false means exact."""
        return Answered(200, {"code": 200, "message": "success", "data": {"credits": cost / 1e6, "estimated": False}})
