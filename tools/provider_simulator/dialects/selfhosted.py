"""A self-hosted Wan server: seeds/selfhosted.md. One clip at a time, one shape, no account, no callbacks."""

import base64
import re
import uuid
from collections.abc import Mapping
from typing import ClassVar

from tools.provider_simulator.dialects.base import Answered, ApiCall, Request, SaysNo, SimulatedDialect, shape_of
from tools.provider_simulator.task import Ordered, Task

_STATUS = {"key": 401, "credit": 402, "busy": 429, "maintenance": 503, "server": 500, "input": 400, "unknown": 404}
_WORDS = {"queued": "queued", "running": "processing", "success": "completed", "fail": "failed"}
_HERE = uuid.UUID("550e8400-e29b-41d4-a716-446655440000")


class SimulatedSelfHosted(SimulatedDialect):
    name = "selfhosted"
    prices: ClassVar[Mapping[str, float]] = {"480p": 0.0}
    fresh_links = True

    def call(self, request: Request) -> ApiCall | None:
        """/generate, /status/{id}, /jobs."""
        if (request.method, request.path) == ("POST", "/generate"):
            return ApiCall("create", "wan2.2-14b")
        if request.method == "GET" and (asked := re.fullmatch(r"/status/([^/]+)", request.path)):
            return ApiCall("status", asked[1])
        if (request.method, request.path) == ("GET", "/jobs"):
            return ApiCall("list")
        return None

    def check_key(self, request: Request, key: str, secret: str | None) -> None:
        """X-API-Key."""
        if request.headers.get("x-api-key") != key:
            raise SaysNo("key", "Invalid API key")

    def asked(self, call: ApiCall, request: Request) -> Ordered:
        """A prompt, and a picture by address or in base64."""
        prompt, encoded = request.body.get("prompt"), request.body.get("image_base64")
        if not isinstance(prompt, str) or not prompt:
            raise SaysNo("input", "Prompt is required")
        if encoded:
            try:
                base64.b64decode(encoded, validate=True)
            except (ValueError, TypeError):
                raise SaysNo("input", "Invalid base64 image") from None
        return Ordered(call.what, {"prompt": prompt}, prompt, "480p", 5.0, shape_of("480p", None))

    def new_id(self, number: int) -> str:
        """A UUID."""
        return str(uuid.uuid5(_HERE, str(number)))

    def created(self, task: Task) -> Answered:
        """HTTP 200, not 201."""
        return Answered(200, {"job_id": task.id, "status": "queued", "position": 0})

    def told(self, task: Task, now: float, url: str) -> Answered:
        """A fresh link at each question."""
        state = task.state(now)
        over = state in ("success", "fail")
        return Answered(
            200,
            {
                "job_id": task.id,
                "status": _WORDS[state] if over or not task.word else task.word,
                "video_url": url if state == "success" else None,
                "error": "Generation failed: CUDA error: out of memory" if state == "fail" else None,
            },
        )

    def refused(self, no: SaysNo, call: ApiCall | None) -> Answered:
        """FastAPI's form."""
        words = "Job not found" if no.kind == "unknown" else str(no)
        return Answered(_STATUS.get(no.kind, 400), {"detail": words}, no.headers)

    def listed(self, tasks: list[Task], now: float) -> Answered:
        """The newest first."""
        return Answered(
            200,
            [
                {
                    "job_id": task.id,
                    "status": _WORDS[task.state(now)],
                    "prompt": task.asked.prompt,
                    "video_url": None,
                    "error": None,
                    "created_at": "2026-02-21T15:01:21.000000",
                }
                for task in tasks[:100]
            ],
        )
