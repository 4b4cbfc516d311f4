"""`make demo` as a stranger sees it: files that play, nothing left behind, also when interrupted."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import preloaded
import pytest

from tests.conftest import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e-real")]


def demo(tmp_path: Path, *more: str) -> "subprocess.Popen[str]":
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    return preloaded.Renders(
        [sys.executable, "-m", "farm.cli", "demo", "--to", str(tmp_path / "out"), *more],
        # a farm of the user's is none of the demo's business
        env={**os.environ, "TMPDIR": str(scratch), "WANFARM_WORKER__DEVICES": "7", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def left(tmp_path: Path) -> list[str]:
    """What is left of the demo: its folder, and processes that have to do with it."""
    found = [str(path) for path in (tmp_path / "tmp").iterdir()]
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if entry.name != str(os.getpid()) and str(tmp_path / "tmp").encode() in text:
            found.append(entry.name)
    return found


def test_the_demo_makes_what_it_says(tmp_path: Path) -> None:
    process = demo(tmp_path, "--json")
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    made = json.loads(out)
    assert {job["task"] for job in made} == {"t2v", "i2v"}
    assert len(made) == 6
    for job in made:
        video = Path(job["files"]["video"])
        assert hashlib.sha256(video.read_bytes()).hexdigest() == job["result"]["sha256"]
        with av.open(str(video)) as box:
            stream = box.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert sum(1 for _ in box.decode(stream)) == job["frames"]
        assert json.loads(Path(job["files"]["recipe"]).read_text())["seed"] == job["seed"]
        assert Path(job["files"]["poster"]).stat().st_size > 0
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert left(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = demo(tmp_path)
    wait_until(lambda: list((tmp_path / "tmp").glob("*/farm/run.json")), what="the farm to start")
    process.send_signal(number)
    _, err = process.communicate(timeout=500)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert left(tmp_path) == []
