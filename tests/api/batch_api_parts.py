"""What the tests of batches through the API share."""

import json
from typing import Any

from werkzeug.test import TestResponse

from tests.api.api_parts import TINY, Caller

SMALL = {"model": TINY, "width": 128, "height": 128, "frames": 9, "steps": 2}
NDJSON, CSV = "application/x-ndjson", "text/csv"


def ndjson(*shots: dict[str, Any]) -> bytes:
    return "".join(json.dumps(shot) + "\n" for shot in shots).encode()


def send(
    caller: Caller, body: bytes, media: str = NDJSON, headers: dict[str, str] | None = None, **asked: Any
) -> TestResponse:
    return caller.post("/v1/batches", data=body, content_type=media, query_string={**SMALL, **asked}, headers=headers)
