"""Work whose client has hung up: what waits is not begun, and a file is no longer decoded."""

import http.client
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request

from farm.config import GatewaySettings, IntakeSettings
from farm.intake import rendition
from farm.intake.check import check
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind
from tests.api.gateway_thread import served
from tests.conftest import wait_until
from tests.farm.intake.test_intake_clips import clip

LIMITS = IntakeSettings(max_clip_s=60.0)


def decoders() -> list[int]:
    """Children of this process that decode."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"farm.intake.decoder" in command.read_bytes():
                found.append(int(child))
    return found


def stopped() -> int:
    """The decoder of the first request, which waits in the middle of its work for as long as the test likes."""
    wait_until(lambda: any(map(_is_stopped, decoders())), what="a stopped decoder")
    [decoder] = decoders()
    return decoder


def _is_stopped(process: int) -> bool:
    # the name, in parentheses, may have any character
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("T")


@pytest.fixture(autouse=True)
def _the_first_decoder_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, so that it cannot be through before a signal comes."""
    other = rendition.subprocess.Popen  # type: ignore[attr-defined]
    stops = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh"]

    def start(command: list[str], **how: Any) -> Any:
        monkeypatch.setattr(rendition.subprocess, "Popen", other)  # type: ignore[attr-defined]
        return subprocess.Popen([*stops, *command], **how)

    monkeypatch.setattr(rendition.subprocess, "Popen", start)  # type: ignore[attr-defined]


@pytest.fixture
def told() -> list[str]:
    """What became of the requests, in order."""
    return []


@pytest.fixture
def port(told: list[str]) -> Iterator[int]:
    app = Flask("looks")

    @app.post("/looks")
    def looks() -> dict[str, Any]:
        told.append("begun")
        try:
            check(io.BytesIO(request.get_data()), Kind.CLIP, LIMITS).file.close()
            told.append("made")
        except InvalidRequest as error:
            told.append(str(error))
        return {}

    with served(app, GatewaySettings(threads=2, max_body=64 << 20)) as url:
        yield int(url.rpartition(":")[2])


def sent(port: int, body: bytes) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    connection.request("POST", "/looks", body=body)
    return connection


def test_a_decoder_ends_when_its_client_is_gone(port: int, told: list[str]) -> None:
    connection = sent(port, clip())
    stopped()
    connection.close()
    wait_until(lambda: len(told) == 2, what="the request to end")
    assert told == ["begun", "the video is not waited for any more"]
    assert decoders() == []


def test_what_waits_for_a_thread_is_dropped_with_its_client(port: int, told: list[str]) -> None:
    """One caller has half of the threads: one."""
    first = sent(port, clip())
    decoder = stopped()
    waiting = [sent(port, clip()) for _ in range(3)]
    for connection in waiting:
        connection.close()
    os.kill(decoder, signal.SIGCONT)
    assert first.getresponse().status == 200
    after = sent(port, clip())
    assert after.getresponse().status == 200
    assert told == ["begun", "made"] * 2
