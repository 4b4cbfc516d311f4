"""Real processes: who dies with whom."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from farm import lifeline
from tests.conftest import wait_until


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _parent(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], stdout=subprocess.PIPE, text=True, process_group=0
    )


def _said(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_a_bound_program_dies_with_a_killed_parent() -> None:
    parent = _parent("""
        import subprocess, time
        from farm import lifeline
        print(subprocess.Popen(lifeline.bound(["sleep", "600"]), process_group=0).pid, flush=True)
        time.sleep(600)
    """)
    child = _said(parent)
    # the launcher keeps its pid when it becomes the program
    wait_until(lambda: Path(f"/proc/{child}/comm").read_text().strip() == "sleep", what="the program")
    parent.kill()
    parent.wait()
    wait_until(lambda: not _alive(child), what="the child to die with its parent")


def test_the_signal_of_death_can_be_a_milder_one() -> None:
    parent = _parent("""
        import signal, subprocess, time
        from farm import lifeline
        command = ["sh", "-c", "trap 'exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done"]
        child = subprocess.Popen(lifeline.bound(command, signal.SIGTERM), process_group=0, stderr=subprocess.PIPE)
        child.stderr.readline()
        print(child.pid, flush=True)
        time.sleep(600)
    """)
    child = _said(parent)
    parent.kill()
    parent.wait()
    wait_until(lambda: not _alive(child), what="the child to hear SIGTERM")


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    # the launcher is told of a parent that is not its own: as if that one had died before the signal was asked for
    launcher = [*lifeline.bound(["sleep", "600"])]
    launcher[4] = "1" if os.getppid() != 1 else "2"
    assert subprocess.run(launcher, timeout=90, check=False).returncode == -signal.SIGKILL


def test_a_program_that_is_not_there_is_one_line() -> None:
    done = subprocess.run(lifeline.bound(["no-such-program"]), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "cannot start no-such-program: No such file or directory"
