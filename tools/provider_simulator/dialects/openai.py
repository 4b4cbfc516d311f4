"""OpenAI's /v1/videos, as servers that speak it do: the clip lies behind the same key, an empty account is a 429."""

import re
from typing import Any

from tools.provider_simulator.dialects.base import Answered, ApiCall, Json, Request, SaysNo, SimulatedDialect, need
from tools.provider_simulator.task import ClipShape, Ordered, Task

_CODES = {
    "key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"),
    "credit": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
    "busy": (429, "rate_limit_error", "rate_limit_exceeded", "Rate limit reached"),
    "maintenance": (503, "server_error", None, "The engine is currently overloaded"),
    "server": (500, "server_error", None, "The server had an error while processing your request"),
    "model": (404, "invalid_request_error", "model_not_found", "The model does not exist"),
    "input": (400, "invalid_request_error", None, "Invalid value"),
    "unknown": (404, "invalid_request_error", "not_found", "Video not found"),
}
_WORDS = {"queued": "queued", "running": "in_progress", "success": "completed", "fail": "failed"}


class SimulatedOpenAi(SimulatedDialect):
    name = "openai"
    forgets = True

    def call(self, request: Request) -> ApiCall | None:
        """/v1/videos and below."""
        if (request.method, request.path) == ("POST", "/v1/videos"):
            return ApiCall("create", str(request.body.get("model") or "sora-2"))
        if found := re.fullmatch(r"/v1/videos/([^/]+)(/content)?", request.path):
            if request.method == "DELETE" and not found[2]:
                return ApiCall("cancel", found[1])
            if request.method == "GET":
                return ApiCall("content" if found[2] else "status", found[1])
        return None

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """A bearer token."""
        if request.headers.get("authorization") != f"Bearer {key}":
            raise SaysNo("key")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """`prompt`, `model`, `size`, `seconds`; frames and fps as servers of open models take them."""
        body = request.body
        need(body, "prompt")
        size = re.fullmatch(r"(\d+)x(\d+)", str(body.get("size") or "832x480"))
        try:
            seconds, fps = float(body.get("seconds") or 5), int(body.get("fps") or 16)
            frames = int(body.get("frames") or round(seconds * fps) + 1)
        except (TypeError, ValueError):
            raise SaysNo("input", "Invalid type for 'seconds'") from None
        if size is None:
            raise SaysNo("input", "Invalid value for 'size'")
        shape = ClipShape(int(size[1]), int(size[2]), frames, fps)
        resolution = "480p" if shape.width * shape.height < 500_000 else "720p"
        return Ordered(call.what, body, str(body["prompt"]), resolution, round(frames / fps), shape)

    def new_id(self, number: int) -> str:
        """video_ and letters."""
        return f"video_{number:032x}"

    def created(self, task: Task) -> Answered:
        """The video object."""
        return Answered(200, self._video(task, "queued"))

    def told(self, task: Task, now: float, url: str) -> Answered:
        """The video object."""
        return Answered(200, self._video(task, task.state(now)))

    def _video(self, task: Task, state: str) -> Json:
        over = state in ("success", "fail")
        shape = task.asked.shape
        return {
            "id": task.id,
            "object": "video",
            "model": task.asked.model,
            "status": _WORDS[state] if over or not task.word else task.word,
            "progress": 100 if state == "success" else 0,
            "created_at": int(task.created),
            "completed_at": int(task.ends) if over else None,
            "size": f"{shape.width}x{shape.height}",
            "seconds": str(round(shape.seconds)),
            "error": {"code": "server_error", "message": "generation failed"} if state == "fail" else None,
        }

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """An error object."""
        status, kind, code, words = _CODES[no.kind]
        message = str(no) if str(no) != no.kind else words
        error: dict[str, Any] = {"message": message, "type": kind, "param": None, "code": code}
        return Answered(status, {"error": error}, no.headers)

    def cancellable(self, call: ApiCall, task: Task, now: float) -> bool:
        """Anything may be deleted."""
        return True

    def cancelled(self, task: Task, now: float) -> Answered:
        """It is gone."""
        return Answered(200, {"id": task.id, "object": "video.deleted", "deleted": True})
