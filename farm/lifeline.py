"""No process outlives the one that started it. Owns the parent-death signal; never decides what to start or restart.

    subprocess.Popen(lifeline.bound([...]), process_group=0)     # any program, also redis-server
    lifeline.bind()                                              # a Python process that was forked by somebody else

This file is also the launcher that `bound` puts in front of a command: it asks for the signal and then becomes the
command (same pid). That is safe in a parent with threads, where `preexec_fn` is not. Elsewhere than on Linux there is
no such signal: the command simply runs.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def bound(command: Sequence[str], death: signal.Signals = signal.SIGKILL) -> list[str]:
    """Arguments that run `command` so that it gets `death` when its parent dies.

    The kernel watches the *thread* that starts it: start from one that lives as long as the process (the main thread,
    or one made for it), never from a pool thread. Give the child a process group of its own (`process_group=0`), so
    that the Ctrl-C of a terminal reaches only the parent.
    """
    # -I -S: no site packages, no environment: the launcher costs about ten milliseconds
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death)), *command]


def bind(death: signal.Signals = signal.SIGKILL, *, parent: int | None = None) -> None:
    """This process gets `death` when its parent dies. With `parent` (its pid): at once if that one is already gone."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(death), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), death)


def _launch(arguments: Sequence[str]) -> None:
    parent, death, *command = arguments
    bind(signal.Signals(int(death)), parent=int(parent))
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point
    except OSError as error:
        sys.exit(f"cannot start {command[0]}: {error.strerror}")


if __name__ == "__main__":
    _launch(sys.argv[1:])
