"""One table of sizes, lengths, references and errors, asked by stock openai SDKs: two versions of the Python one, one
of the npm one (`make sdks` puts the other two where they are found). All see the same."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dialect_parts import ANIMATE, I2V, T2V, Worker

from tests.api.api_parts import TINY, Caller, picture

TABLE = Path(__file__).parent / "sdk_table"
#: where `make sdks` puts the older Python SDK
OLDER = Path(sys.prefix) / "sdks" / "python"
NPM = TABLE / "node_modules" / "openai"

SIZES = ("1280x720", "720x1280", "1024x1792", "1792x1024")
SECONDS = ("4", "8", "12")


def program(name: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment of one SDK; skips where it is not installed."""
    if name == "npm":
        node = shutil.which("node")
        if node is None or not NPM.exists():
            pytest.skip("needs node and `make sdks`")
        return [node, str(TABLE / "table.mjs")], {}
    if name == "python, older" and not OLDER.exists():
        pytest.skip("needs `make sdks`")
    return [sys.executable, str(TABLE / "table.py")], {"PYTHONPATH": str(OLDER)} if name == "python, older" else {}


def refused(error: str, status: int, code: str | None, param: str | None) -> dict[str, Any]:
    return {"error": error, "status": status, "code": code, "param": param}


@pytest.mark.parametrize("name", ["python", "python, older", "npm"])
def test_every_sdk_sees_the_same_table(
    name: str, door: str, caller: Callable[..., Caller], worker: Worker, tmp_path: Path
) -> None:
    command, environment = program(name)
    worker.offer(T2V, I2V, ANIMATE, TINY)
    alice, file = caller("alice"), tmp_path / "picture.png"
    file.write_bytes(picture())
    shapes = [(size, seconds) for size in SIZES for seconds in SECONDS]
    lines: list[tuple[list[Any], Any]] = [
        *(
            (["create", {"prompt": "a fox", "model": model, "size": size, "seconds": seconds}],
             ["queued", size, seconds, model, True])
            for model in ("sora-2", TINY) for size, seconds in shapes
        ),
        (["create", {"prompt": "wave", "picture": str(file), "seconds": "4", "size": "1280x720"}],
         ["queued", "1280x720", "4", I2V, True]),
        (["create", {"prompt": ""}], refused("BadRequestError", 400, None, "prompt")),
        (["create", {"prompt": "x", "model": "wan9"}], refused("BadRequestError", 400, "model_not_found", "model")),
        (["create", {"prompt": "x", "size": "720p"}], refused("BadRequestError", 400, None, "size")),
        (["create", {"prompt": "x", "seconds": "a while"}], refused("BadRequestError", 400, None, "seconds")),
        (["retrieve", "video_123"], refused("NotFoundError", 404, "not_found", None)),
        (["download", "not yet rendered"], refused("NotFoundError", 404, "not_found", None)),
        (["list", 7], 2 * len(shapes) + 2),
        (["delete", None], True),
        (["wrong key", "sk-wrong"], refused("AuthenticationError", 401, "invalid_api_key", None)),
    ]  # fmt: skip
    done = subprocess.run(
        [*command, f"{door}/v1", alice.key],
        input=json.dumps([asked for asked, _ in lines]),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(zip((asked for asked, _ in lines), told, strict=True)) == [(asked, seen) for asked, seen in lines]
