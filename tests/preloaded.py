"""Processes of the farm that do not import it first: each is forked from one that has imported everything. What runs is
a process like any other, a child of the one that starts it, with its own pid, group, files, environment and command
line; only the second or two of CPU that Python takes to import a farm are saved, which were half of what these tests
cost. Linux alone; elsewhere, and for a command that is not ours, it is subprocess.Popen.

    Popen([sys.executable, "-m", "farm.cli", "burst"], env=..., stdout=...)

How the farm itself is started is tested without this (tests/farm/embedded/test_embedded_stack.py), and so is the
intake's decoder (tests/farm/intake/test_intake_hostile.py).
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farm import lifeline

_PR_SET_CHILD_SUBREAPER = 36
#: room for the command line and the environment of what is forked, as /proc shows them
_ROOM = 8_000
#: the real one: a test may put ours in its place
_Popen = subprocess.Popen
_asking = threading.Lock()
#: (process, what the other end has imported) -> who forks for that process
_servers: dict[tuple[int, str], socket.socket] = {}


def adopt(server: socket.socket) -> None:
    """Have parts of the farm that this process starts forked by the process at the other end."""
    _servers[os.getpid(), Popen.image] = server


class Popen(_Popen[Any]):
    """As subprocess.Popen."""

    #: which modules the process has that forks it (preloaded_server.IMAGES)
    image = "farm"

    def _execute_child(
        self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
        startupinfo: Any, creationflags: Any, shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int,
        errread: int, errwrite: int, restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any,
        start_new_session: bool, process_group: int,
    ) -> None:  # fmt: skip
        if not _is_ours(args, os.environ if env is None else env):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, p2cread,
                p2cwrite, c2pread, c2pwrite, errread, errwrite, restore_signals, gid, gids, uid, umask,
                start_new_session, process_group,
            )  # fmt: skip
            return
        std = [(target, given if given >= 0 else target) for target, given in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = _forked(
            {
                "command": [os.fspath(word) for word in args],
                "cwd": os.fspath(cwd or Path.cwd()),
                "env": {os.fsdecode(k): os.fsdecode(v) for k, v in (os.environ if env is None else env).items()},
                "session": start_new_session,
                "group": process_group if process_group is not None else -1,
                "parent": os.getpid(),
            },
            [*std, *((fd, fd) for fd in pass_fds)],
            self.image,
        )
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


class Renders(Popen):
    """Of a farm that renders with the real engine, and of that engine. Who uses it shares the xdist group `e2e-real`:
    what is imported for it is 300 MB and takes as long as one engine's start."""

    image = "renders"


class Decoder(Popen):
    """Of the intake's child alone, which lives for a tenth of the time that its imports would take."""

    image = "decoder"

    def _execute_child(self, args: Any, *how: Any) -> None:
        if sys.platform == "linux" and args[1] == "-I":
            args = [args[0], *args[2:]]
        super()._execute_child(args, *how)


def _is_ours(args: Any, env: Mapping[str, str]) -> bool:
    if sys.platform != "linux" or isinstance(args, str | bytes | os.PathLike) or "LD_PRELOAD" in env:
        return False
    words = without_launcher([os.fspath(word) for word in args])
    return words[0] == sys.executable and len(words) > 1 and (words[1] in ("-m", "-c") or words[1].endswith(".py"))


def without_launcher(words: Sequence[str]) -> list[str]:
    """The command of farm.lifeline.bound(command)."""
    mine = [sys.executable, "-I", "-S", lifeline.__file__]
    return list(words[6:] if list(words[:4]) == mine else words)


def _forked(request: dict[str, Any], files: list[tuple[int, int]], image: str) -> int:
    """Its pid. The server forks twice, and its orphan becomes ours: for that moment orphans below us do."""
    with _asking:
        # what a process that was forked has of its parent's is no use to it
        mine = (os.getpid(), image)
        if mine not in _servers:
            _servers[mine] = _started(image)
        server = _servers[mine]
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            told = json.dumps(request | {"files": [target for target, _ in files]}).encode()
            socket.send_fds(server, [told], [given for _, given in files])
            pid = int(server.recv(100) or 0)
        finally:
            libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    if not pid:
        raise OSError("the preloaded process is gone")
    return pid


def _first_to_import() -> list[str]:
    return [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]


def _started(image: str) -> socket.socket:
    """A new process that imports what `image` names and forks for this one until it ends."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        _Popen(
            [sys.executable, "-m", "preloaded_server", str(its.fileno()), image, "-" * _ROOM],
            pass_fds=(its.fileno(),),
            cwd=Path(__file__).parent,
            # beside preloaded_server.py lies a folder `farm`: that name is the farm's, however it is installed
            env={
                **os.environ,
                **({"OPENBLAS_NUM_THREADS": "1"} if image == "decoder" else {}),
                "PRELOADED_ROOM": "-" * _ROOM,
                "PYTHONPATH": os.pathsep.join(_first_to_import()),
            },
            stdin=subprocess.DEVNULL,
            # a test's end kills groups
            start_new_session=True,
        )
    return ours
