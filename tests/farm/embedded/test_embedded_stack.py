"""The whole `wanfarm up` as a process: what dies comes back, what ends leaves nothing, a start goes on where it was.

(That no job suffers meanwhile is tests/e2e's to prove. The engine here is one that makes files at once.)
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import preloaded
import pytest

from farm.client import Client
from farm.embedded.launched import Launched
from tests.conftest import wait_until

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "WANFARM_WORKER__ENGINE": "tests.engines.actions",
    "WANFARM_WORKER__DEVICES": "cpu",
    "ACTIONS_OFFERS": "wan2.2-t2v-a14b-tiny",
    "WANFARM_POOLS": '{"default": {"models": ["wan2.2-t2v-a14b-tiny"]}}',
    "WANFARM_EMBEDDED__BACKOFF_S": "0.1",
    "WANFARM_LEASE__SECONDS": "5",
    "WANFARM_GATEWAY__PROCESSES": "1",
}
MODEL = "wan2.2-t2v-a14b-tiny"
#: a safety net: nine processes import a farm on a machine that does much else
PATIENCE_S = 300.0

pytestmark = pytest.mark.e2e


def living_in(folder: Path) -> dict[int, str]:
    """Processes whose command line or environment names `folder`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if str(folder).encode() in text and not zombie:
            found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "farm"
    for pid in living_in(tmp_path / "farm"):
        os.kill(pid, signal.SIGKILL)


def start(folder: Path, *, forked: bool = True, **more: str) -> Launched:
    """`forked`: by tests/preloaded.py, and its parts, too."""
    with (folder.parent / "up.txt").open("ab") as log, pytest.MonkeyPatch.context() as patched:
        if forked:
            patched.setattr(subprocess, "Popen", preloaded.Popen)
        return Launched.start(folder, environment={**ENVIRONMENT, **more}, output=log)


def rendered(launched: Launched) -> None:
    """A job goes through the whole farm."""
    notes = launched.folder.client()
    assert notes is not None
    assert notes.key is not None
    with Client(notes.url, notes.key, patience_s=60) as client:
        job = client.jobs.wait(client.jobs.create("ok", model=MODEL, width=64, height=64, frames=5).id, timeout_s=60)
        assert job.error is None


def the_command_line_finds_it(folder: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANFARM_")}

    def wanfarm(*arguments: str) -> str:
        command = [sys.executable, "-m", "farm.cli", "--state-dir", str(folder), *arguments]
        with preloaded.Popen(command, env=clean, stdout=subprocess.PIPE, text=True) as asked:
            said = asked.communicate(timeout=PATIENCE_S)[0]
        assert asked.returncode == 0
        return str(said)

    assert [job["state"] for job in json.loads(wanfarm("jobs", "--json"))] == ["succeeded"]
    # an operator's call is made with the operator's key, and the farm's own Redis is found
    assert "cpu-0" in wanfarm("workers")
    assert "studio" in wanfarm("tenants", "list")


def test_parts_come_back_and_a_killed_farm_leaves_nothing_and_goes_on(folder: Path) -> None:
    first = start(folder)
    notes = first.wait_up(PATIENCE_S)
    rendered(first)
    the_command_line_finds_it(folder)

    # two on one folder would be two Redis on one append-only file
    refused = start(folder)
    assert refused.process.wait(PATIENCE_S) == 1
    assert f"process {first.process.pid}" in (folder.parent / "up.txt").read_text()

    before = first.pids()
    assert set(before) == {"redis", "s3", "s3-front", "gateway", "io", "beat", "exporter", "worker"}
    for part, pid in before.items():
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda part=part, pid=pid: first.pids().get(part) not in (pid, None), what=f"{part} to come back")

    def all_ready() -> bool:
        parts = (first.folder.running() or {})["parts"].values()
        return all(part["phase"] == "ready" for part in parts)

    wait_until(all_ready, what="every part to be ready again")
    assert first.process.poll() is None
    rendered(first)

    # jobs that are still to do when everything is killed at once
    with Client(notes.url, str(notes.key)) as client:
        waiting = [client.jobs.create("ok", model=MODEL, width=64, height=64, frames=5).id for _ in range(3)]
        first.process.kill()
        first.process.wait()
    wait_until(lambda: not living_in(folder), what="every process to end with its farm")
    assert first.folder.running() is not None

    # same address, same keys, same jobs
    second = start(folder, forked=False)
    assert second.wait_up(PATIENCE_S) == notes
    with Client(notes.url, str(notes.key), patience_s=60) as client:
        assert {client.jobs.wait(job_id, timeout_s=60).state for job_id in waiting} == {"succeeded"}
        slow = client.jobs.create("slow:6000", model=MODEL, width=64, height=64, frames=5).id
        wait_until(lambda: client.jobs.get(slow).phase == "denoising", what="the slow job to run")
        # the first signal would wait for the ten minutes of this render; the second hands it back
        assert second.stop(hurry=True, timeout_s=60) == 0
    assert not living_in(folder)
    assert second.folder.running() is None
    assert json.loads((folder / "farm.json").read_text())["gateway_port"] == int(notes.url.rpartition(":")[2])


def test_a_part_that_cannot_start_is_told_with_its_last_words(folder: Path) -> None:
    broken = start(folder, WANFARM_WORKER__DEVICES="7")
    assert broken.process.wait(PATIENCE_S) == 1
    said = (folder.parent / "up.txt").read_text()
    assert "worker cannot be started (exit status 2)" in said
    assert str(folder / "logs" / "worker.log") in said
    assert "Traceback" not in said
    assert not living_in(folder)
    assert broken.folder.running() is None
