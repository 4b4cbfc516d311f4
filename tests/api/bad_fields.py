"""What every door refuses of a job, with the field that is wrong."""

from typing import Any

from tests.api.api_parts import TINY

#: bodies of POST /v1/jobs, the field that is named, and words of what is said of it
BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "required"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": "   "}, "prompt", "empty"),
    ({"prompt": "p" * 5001}, "prompt", "5000"),
    ({"prompt": ["p"]}, "prompt", "string"),
    ({"prompt": "p", "model": "wan9"}, "model", TINY),
    ({"prompt": "p", "model": TINY, "task": "v2v"}, "task", "t2v, i2v"),
    ({"prompt": "p", "task": "v2v"}, "model", "v2v"),
    ({"prompt": "p", "frames": 80}, "frames", "nearest: 77 or 81"),
    ({"prompt": "p", "frames": 1}, "frames", "between 5 and"),
    ({"prompt": "p", "frames": 100_001}, "frames", ""),
    ({"prompt": "p", "width": 101}, "width", "nearest: 100 or 102"),
    ({"prompt": "p", "width": 1920, "height": 1920}, "width", "pixels"),
    ({"prompt": "p", "height": 9999}, "height", "between"),
    ({"prompt": "p", "resolution": "8k"}, "resolution", "480p"),
    ({"prompt": "p", "resolution": "480p", "aspect_ratio": "1:0"}, "aspect_ratio", "16:9"),
    ({"prompt": "p", "duration_s": 600}, "duration_s", "between"),
    ({"prompt": "p", "duration_s": 1, "frames": 17}, "duration_s", "not both"),
    ({"prompt": "p", "fps": 61}, "fps", "between"),
    ({"prompt": "p", "steps": 101}, "steps", "between"),
    ({"prompt": "p", "guidance": 21}, "guidance", "between"),
    ({"prompt": "p", "guidance_2": 3}, "guidance_2", "one expert"),
    ({"prompt": "p", "seed": -2}, "seed", ""),
    ({"prompt": "p", "seed": 2**63}, "seed", ""),
    ({"prompt": "p", "seed": "7"}, "seed", "integer"),
    ({"prompt": "p", "priority": 10}, "priority", ""),
    ({"prompt": "p", "max_attempts": 0}, "max_attempts", ""),
    ({"prompt": "p", "deadline": "2020-01-01T00:00:00Z"}, "deadline", "past"),
    ({"prompt": "p", "deadline": "tomorrow"}, "deadline", ""),
    ({"prompt": "p", "metadata": {str(n): "x" for n in range(17)}}, "metadata", "16"),
    ({"prompt": "p", "webhook_url": "http://10.0.0.1/hook"}, "webhook_url", ""),
    ({"prompt": "p", "webhook_url": "ftp://example.com/"}, "webhook_url", ""),
    ({"prompt": "p", "colour": "red"}, "colour", "unknown field"),
    ({"prompt": "p", "framse": 81}, "framse", "did you mean frames?"),
    ({"prompt": "p", "model": TINY, "last_image": "http://127.0.0.1/a.png"}, "last_image", "takes no last_image"),
    ({"prompt": "p", "model": TINY, "task": "i2v"}, "image", "needs image"),
    ({"prompt": "p", "image": {"upload": "nothing-there"}}, "image", ""),
    ({"prompt": "p", "image": {"upload": "../../other"}}, "image", ""),
]
