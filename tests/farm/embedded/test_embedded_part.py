"""One part as a real process."""

import os
import signal
import sys
from pathlib import Path

from farm.config import Settings
from farm.embedded import part as part_module
from farm.embedded.part import Part, PartPhase, PartProcess, Rank, now_s
from farm.embedded.stack import Stack, StackEvent
from tests.conftest import wait_until


def _child(tmp_path: Path, code: str, ready: bool = True, **more: object) -> PartProcess:
    (tmp_path / "logs").mkdir(exist_ok=True)
    part = Part("part", Rank.SERVICE, [sys.executable, "-c", code], lambda: ready, **more)  # type: ignore[arg-type]
    return PartProcess(
        part, log=tmp_path / "logs" / "part.log", environment=dict(os.environ), backoff_s=0.5, backoff_max_s=3.0
    )


def _end(child: PartProcess, now: float) -> int:
    found: list[int] = []

    def ended() -> bool:
        if (status := child.exited(now)) is not None:
            found.append(status)
        return bool(found)

    wait_until(ended, what="the part to end")
    return found[0]


def test_its_words_go_to_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path, "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)")
    child.start(0.0)
    assert child.phase is PartPhase.STARTING
    assert _end(child, 0.0) == 3
    assert sorted(child.last_words().splitlines()) == ["one", "two"]


def test_it_starts_again_later_and_later_until_it_lived_for_a_while(tmp_path: Path) -> None:
    child = _child(tmp_path, "raise SystemExit(1)")
    pauses = []
    for _ in range(4):
        child.start(100.0)
        _end(child, 100.0)
        assert child.phase is PartPhase.DOWN
        pauses.append(child.again_at - 100.0)
    assert pauses == [0.5, 1.0, 2.0, 3.0]
    child.start(100.0)
    assert child.check_ready(100.0)
    _end(child, 101.0 + part_module.STEADY_S)
    assert child.again_at - (101.0 + part_module.STEADY_S) == 0.5
    assert child.deaths == 5


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import subprocess, os; p = subprocess.Popen(['sleep', '600']); open({str(note)!r}, 'w').write(str(p.pid))"
    child = _child(tmp_path, code)
    child.start(0.0)
    assert _end(child, 0.0) == 0
    grandchild = int(note.read_text())
    wait_until(lambda: not Path(f"/proc/{grandchild}/fd").exists() or _zombie(grandchild), what="its child to end")


def test_one_that_is_never_ready_is_killed_when_patience_ends(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(600)", ready=False, patience_s=5.0)
    child.start(0.0)
    assert not child.check_ready(4.0)
    assert child.exited(4.0) is None
    assert not child.check_ready(6.0)
    assert _end(child, 6.0) == -signal.SIGKILL


def test_stopping_is_asked_first_and_forced_later(tmp_path: Path) -> None:
    child = _child(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('yes', flush=True)\nwhile True: time.sleep(600)",
    )
    child.start(now_s())
    wait_until(lambda: "yes" in child.last_words(), what="the part to listen")
    child.stop(10.0, stop_s=2.0)
    wait_until(lambda: "no" in child.last_words(), what="the part to hear")
    assert child.kill_at == 12.0
    child.kill()
    assert _end(child, 12.0) == -signal.SIGKILL
    assert child.phase is PartPhase.ENDED
    assert child.deaths == 0


def test_a_large_log_is_set_aside_while_the_part_writes_on(tmp_path: Path) -> None:
    child = _child(tmp_path, "import sys\nfor line in sys.stdin: pass")
    child.log.write_bytes(b"x" * (part_module.LOG_BYTES + 1))
    with child.log.open("ab") as writer:
        child.set_log_aside()
        writer.write(b"after\n")
    assert child.log.read_bytes() == b"after\n"
    assert (child.log.with_suffix(".log.1")).stat().st_size == part_module.LOG_BYTES + 1


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_one_that_takes_long_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    """What it has started may die again and again while it lives itself, as a worker whose agents crash."""
    reports: list[StackEvent] = []
    stack = Stack(Settings(state_dir=tmp_path), reports.append)
    child = _child(tmp_path, "print('no engine starts', flush=True); import time; time.sleep(600)", ready=False)
    child.start(100.0)
    wait_until(child.last_words, what="the part to speak")
    for now in (100.1, 129.9, 130.0, 131.0, 159.9, 160.0, 219.9, 220.0):
        stack._advance(child, now)
    told = [(one.what, one.part, one.detail.splitlines()) for one in reports]
    first = [f"not ready after 30 s; {child.log} ends with", "    no engine starts"]
    assert told[0] == ("slow", "part", first)
    assert [lines[0].split(";")[0] for _, _, lines in told] == [f"not ready after {s} s" for s in (30, 60, 120)]
    child.kill()
    _end(child, 221.0)
    # a new start has its time, too
    child.start(300.0)
    assert child.slow(329.0) is None
    child.kill()
    _end(child, 330.0)


def test_one_that_was_ready_and_hangs_is_killed_to_start_again(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(600)", hung_s=60.0)
    answers = [True]
    object.__setattr__(child.part, "ready", lambda: answers[0])
    child.start(0.0)
    assert child.check_ready(1.0)
    answers[0] = False
    assert [child.look(now) for now in (30.0, 61.0)] == [True, True]
    assert not child.answers
    answers[0] = True
    assert child.look(70.0)
    answers[0] = False
    assert child.look(129.0)
    child.excuse(130.0)
    assert [child.look(now) for now in (136.0, 150.0, 191.0)] == [True, True, False]
    assert _end(child, 191.0) == -signal.SIGKILL
    assert child.phase is PartPhase.DOWN


def test_one_that_waits_for_a_disk_is_left_alone(tmp_path: Path) -> None:
    child = _child(tmp_path, "import time; time.sleep(600)", hung_s=None)
    child.start(0.0)
    assert child.check_ready(1.0)
    object.__setattr__(child.part, "ready", lambda: False)
    assert child.look(10_000.0)
    assert not child.answers
    child.kill()
    child.wait()
