"""One engine, seen from its agent's side: real child processes that behave and misbehave."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farm.config import Settings
from farm.engine.process import Engine, EngineDied
from farm.engine.slots import Slot
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, Stage
from tests.conftest import wait_until

SLOT = Slot("cpu-0")


def gone(pid: int) -> bool:
    """Whether no process of that number runs; one that waits to be reaped has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


Requests = Callable[..., RenderRequest]


def ignore(_: Progress) -> None:
    pass


def test_a_render_is_answered_with_its_files_and_the_lane(engine: Engine, request_for: Requests) -> None:
    seen: list[Progress] = []
    result = engine.render("a:1", request_for("slow:2"), seen.append)
    assert Path(result.video).read_bytes()[4:8] == b"ftyp"
    assert [p.stage for p in seen] == [Stage.LOADING, Stage.DENOISING, Stage.DENOISING, Stage.ENCODING]
    assert (seen[2].step, seen[2].steps) == (2, 2)
    assert engine.lane == "actions"
    device = engine.facts["device"]
    assert (device["name"], device["visible"]) == ("actions", ""), "a CPU engine sees no GPU"
    assert engine.facts["models"] == ["actions"]


@pytest.mark.parametrize(("prompt", "code"), [("error", "engine_error"), ("oom", "out_of_memory")])
def test_a_fault_leaves_the_engine_alive(engine: Engine, request_for: Requests, prompt: str, code: str) -> None:
    with pytest.raises(RenderFault) as fault:
        engine.render("a:1", request_for(prompt), ignore)
    assert fault.value.code == code
    assert engine.render("b:1", request_for("ok"), ignore)


def test_an_unforeseen_exception_tells_the_owner_no_paths(engine: Engine, request_for: Requests) -> None:
    with pytest.raises(RenderFault) as fault:
        engine.render("a:1", request_for("crash"), ignore)
    assert (fault.value.code, fault.value.message) == (
        "engine_error",
        "the renderer failed; the operator's log says why",
    )
    assert engine.alive


def test_a_cancel_stops_the_render_and_keeps_the_process(engine: Engine, request_for: Requests) -> None:
    pid, first = engine.pid, threading.Event()
    threading.Thread(target=lambda: first.wait(90) and engine.cancel("a:1"), daemon=True).start()
    steps: list[int] = []

    def progress(at: Progress) -> None:
        if at.step:
            steps.append(at.step)
            first.set()

    with pytest.raises(Cancelled):
        engine.render("a:1", request_for("slow:1000"), progress)
    assert max(steps) <= 3, "within a step or so"
    assert engine.render("a:2", request_for("ok"), ignore), "a cancel is for one render only"
    assert engine.pid == pid


def test_a_cancel_that_comes_before_its_render_counts(engine: Engine, request_for: Requests) -> None:
    engine.cancel("a:1")
    with pytest.raises(Cancelled):
        engine.render("a:1", request_for("hang"), ignore)


@pytest.mark.parametrize(
    ("prompt", "how"), [("exit", "exited with status 3"), ("sigkill", "was ended by SIGKILL"), ("poisoned", None)]
)
def test_death_is_noticed_at_once(engine: Engine, request_for: Requests, prompt: str, how: str | None) -> None:
    with pytest.raises(EngineDied if how else RenderFault) as end:
        engine.render("a:1", request_for(prompt), ignore)
    if how:
        assert how in str(end.value)
    wait_until(engine.gone.is_set, what="the agent to know")
    assert not engine.alive
    with pytest.raises(EngineDied):
        engine.render("b:1", request_for("ok"), ignore)


def test_death_is_noticed_though_a_grandchild_holds_the_pipe(
    engine: Engine, request_for: Requests, tmp_path: Path
) -> None:
    with pytest.raises(EngineDied):
        engine.render("a:1", request_for(f"grandchild:{tmp_path / 'pid'}"), ignore)
    grandchild = int((tmp_path / "pid").read_text())
    wait_until(lambda: gone(grandchild), what="the whole group to be killed")


def test_a_frozen_or_deaf_engine_is_killed(engine: Engine, request_for: Requests, settings: Settings) -> None:
    class Enough(Exception):
        pass

    looks = iter(range(3))

    def watch() -> None:
        if next(looks, None) is None:
            raise Enough

    with pytest.raises(Enough):
        engine.render("a:1", request_for("freeze"), ignore, watch)
    pid = engine.pid
    assert pid
    engine.kill()
    assert gone(pid)
    another = Engine(settings, SLOT)
    another.start()
    assert another.render("a:2", request_for("ok"), ignore)
    another.kill()


def test_two_engines_never_share_a_device(engine: Engine, settings: Settings) -> None:
    second = Engine(settings, SLOT)
    enough = threading.Event()

    def start() -> None:
        second.start()
        enough.wait()  # the kernel ends an engine with the thread that started it

    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert not free(settings.state_dir / "engines" / "cpu-0.lock")
        assert not second.alive
        engine.kill()
        wait_until(lambda: second.alive, what="the second to take over")
    finally:
        enough.set()
        thread.join()
        second.kill()


AGENT = """
import sys, threading
from farm.config import Settings
from farm.engine.process import Engine
from farm.engine.slots import Slot
settings = Settings(state_dir=sys.argv[1], worker={"engine": "tests.engines.actions"})
engine = Engine(settings, Slot("cpu-9"))
engine.start()
print(engine.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_no_engine_outlives_its_agent(tmp_path: Path, frozen: bool) -> None:
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert agent.stdout
    pid = int(agent.stdout.readline())
    assert not gone(pid)
    if frozen:
        # it cannot see the end of its pipe
        os.kill(pid, signal.SIGSTOP)
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    wait_until(lambda: gone(pid), what="the engine to end")
    wait_until(lambda: free(tmp_path / "engines" / "cpu-9.lock"), what="the device to be free")


def test_an_engine_that_never_gets_ready_is_an_error(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, worker={"engine": "no.such.module"})
    engine = Engine(settings, SLOT)
    with pytest.raises(EngineDied, match="exited with status 1"):
        engine.start()
    assert "No module named" in (tmp_path / "logs" / "engine-cpu-0.log").read_text()


def test_an_engine_that_hears_nothing_keeps_nobody_waiting(engine: Engine, request_for: Requests) -> None:
    """Long texts fill the pipe to it. Whoever wrote them would wait as long as it hangs, behind every clock."""

    class Enough(Exception):
        pass

    def watch() -> None:
        raise Enough

    assert engine.pid
    os.kill(engine.pid, signal.SIGSTOP)
    long = replace(request_for("ok:" + 4000 * "\N{FOX FACE}"), negative_prompt=5000 * "\N{FOX FACE}")
    with pytest.raises(Enough):
        engine.render("a", long, ignore, watch)
    engine.cancel("a")
    engine.prefetch("b", long)
    engine.kill()
    assert engine.gone.is_set()
