"""The process from which tests/preloaded.py has others forked: `python -m preloaded_server SOCKET IMAGE ROOM`. It
imports what they import, but for the modules that do something when they are imported, and ends with who asks.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import preloaded

from farm import lifeline

#: everything below these; what has a side effect is imported by nobody but its process
_FARM = (
    "celery.bin.celery", "celery.bin.worker", "celery.bin.beat", "celery.apps.worker", "celery.apps.beat",
    "celery.beat", "celery.concurrency.thread", "celery.worker.consumer", "celery.worker.components",
    "celery.worker.autoscale", "celery.events.state", "celery.app.amqp", "celery.app.log", "celery.app.control",
    "celery.app.events", "celery.fixups.django", "celery.loaders.app", "celery.worker.strategy",
    "celery.worker.control", "celery.worker.request", "celery.worker.consumer.delayed_delivery",
    "celery.contrib.testing", "celery.backends.base", "billiard.pool", "encodings.idna", "dbm.dumb",
    "pynvml",
    "kombu.transport.redis", "kombu.transport.virtual", "kombu.pools", "kombu.pidbox",
    "farm.agent.agent", "farm.agent.supervisor", "farm.burst.process", "farm.claiming.metrics_page",
    "farm.claiming.page_address", "farm.claiming.presence", "farm.cli", "farm.cli.burst", "farm.cli.exporter",
    "farm.cli.session", "farm.cli.up", "farm.cli.worker", "farm.doctor.doctor", "farm.embedded.s3_front",
    "farm.embedded.stack", "farm.exporter.exporter", "farm.io_worker.batch_keeper", "farm.io_worker.beat_schedule",
    "farm.io_worker.duties", "farm.io_worker.forecasting", "farm.io_worker.housekeeping",
    "farm.io_worker.intake_worker", "farm.io_worker.standby", "farm.ledger.server", "farm.webhooks.postman",
    "gunicorn.app.wsgiapp", "gunicorn.arbiter", "gunicorn.glogging", "api.app", "api.server.worker",
    "tools.provider_simulator.simulator",
)  # fmt: skip
#: what an engine needs before it knows its device: seven of the eight seconds of CPU that its start costs
_ENGINE = (
    "torch", "diffusers", "transformers.models.umt5.modeling_umt5", "diffusers.pipelines.wan.pipeline_wan",
    "diffusers.schedulers.scheduling_unipc_multistep", "models.render.renderer",
)  # fmt: skip
IMAGES = {
    "farm": _FARM,
    "renders": (*_FARM, *_ENGINE),
    "decoder": ("numpy", "farm.intake.finished_clip", "farm.intake.picture_rendition", "farm.intake.sound_rendition"),
}
#: commands that start parts of the farm themselves
_PARENTS = ("demo", "up", "worker")


def main() -> None:
    """Fork for the other end of the socket until it is closed."""
    asked = socket.socket(fileno=int(sys.argv[1]))
    # the folder of the tests
    del sys.path[0]
    # what is imported stays: looking through it again and again is a tenth of what importing costs
    gc.disable()
    for name in IMAGES[sys.argv[2]]:
        with suppress(ImportError):
            importlib.import_module(name)
    if sys.argv[2] != "decoder":
        _read_authorities()
    serve(asked)


def _read_authorities() -> None:
    """As every process does that sends something."""
    from farm.client import transport
    from farm.guard import guard

    transport.trusted()
    guard._trust()


def serve(asked: socket.socket) -> None:
    gc.collect()
    gc.freeze()
    gc.enable()
    while True:
        told, files, _, _ = socket.recv_fds(asked, 1 << 20, 64)
        if not told:
            os._exit(0)
        request = json.loads(told)
        hears, tells = os.pipe()
        child = os.fork()
        if not child:
            # its own child becomes the asker's when it ends
            between = os.getpid()
            grandchild = os.fork()
            if not grandchild:
                _become(between, request, dict(zip(request["files"], files, strict=True)))
            os.write(tells, str(grandchild).encode())
            os._exit(0)
        os.waitpid(child, 0)
        asked.send(os.read(hears, 100))
        for fd in (hears, tells, *files):
            os.close(fd)


def _become(between: int, request: dict[str, Any], files: dict[int, int]) -> NoReturn:
    """The process that was asked for, from its first moment to its end."""
    code: int | None = 1
    try:
        while os.getppid() == between:
            time.sleep(0.001)
        _place(request, files)
        code = _run(request)
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _place(request: dict[str, Any], files: dict[int, int]) -> None:
    """Session, files, folder, environment and command line."""
    if request["session"]:
        os.setsid()
    elif request["group"] >= 0:
        os.setpgid(0, request["group"])
    high = {target: _moved(fd) for target, fd in files.items()}
    for target, fd in high.items():
        os.dup2(fd, target, inheritable=True)
    for entry in os.listdir("/proc/self/fd"):
        if int(entry) not in high:
            with suppress(OSError):  # what listed them is closed
                os.close(int(entry))
    os.chdir(request["cwd"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    os.environ.clear()
    # also what stays the same: C's copy of it lies where the new one is shown
    os.environ.update(request["env"])
    time.tzset()
    # found once and kept: by what is imported
    tempfile.tempdir = None
    _show(45, preloaded.without_launcher(request["command"]))
    _show(47, [f"{name}={value}" for name, value in request["env"].items()])
    random.seed()


def _moved(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD, 200)


def _show(field: int, words: list[str]) -> None:
    """In /proc/PID/cmdline (field 45, from the state on, is where that begins) or /proc/PID/environ (47)."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(stat[field]), int(stat[field + 1])
    text = b"\0".join(os.fsencode(word) for word in words)[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def _run(request: dict[str, Any]) -> int | None:
    """The exit status; None: as after Ctrl-C."""
    command, words = request["command"], preloaded.without_launcher(request["command"])
    _bring_in(request["env"].get("PYTHONPATH", ""), request["cwd"])
    if len(words) < len(command):
        lifeline.bind(signal.Signals(int(command[5])), parent=int(command[4]))
    if _starts_others(words):
        _have_a_server()
    if words[1:3] == ["-m", "gunicorn"]:
        # prometheus_client decides at its import whether it counts for several processes
        os.register_at_fork(after_in_child=_count_together)
    sys.argv = words[2:] if words[1] == "-m" else words[1:2] + words[3:] if words[1] == "-c" else words[1:]
    try:
        if words[1] == "-m":
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        elif words[1] == "-c":
            exec(words[2], {"__name__": "__main__"})
        else:
            runpy.run_path(words[1], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return None
    return 0


def _starts_others(words: list[str]) -> bool:
    commands = words[1:3] == ["-m", "farm.cli"] and any(word in _PARENTS for word in words[3:])
    # an engine that does what prompts say has little to import
    real_engine = "farm.agent.app" in words and "torch" in sys.modules
    return commands or real_engine or (words[1] == "-c" and "supervisor.main" in words[2])


def _bring_in(python_path: str, cwd: str) -> None:
    """What PYTHONPATH and the folder of a `-m` do to sys.path, and a sitecustomize.py that is found so."""
    folders = [folder for folder in python_path.split(os.pathsep) if folder]
    sys.path[:0] = folders if os.environ.get("PYTHONSAFEPATH") else [cwd, *folders]
    for folder in folders:
        if (custom := Path(folder, "sitecustomize.py")).exists():
            runpy.run_path(str(custom))


def _have_a_server() -> None:
    """This process forks what it starts in the same way: by a child that has done nothing yet."""
    import subprocess

    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        os.setsid()
        # it ends a moment after the one that it works for, and is no part of what a test looks for
        _show(45, ["preloaded"])
        _show(47, [])
        with suppress(BaseException):
            serve(its)
        os._exit(1)
    its.close()
    preloaded.adopt(ours)
    subprocess.Popen = preloaded.Popen  # type: ignore[misc]


def _count_together() -> None:
    from prometheus_client import values

    values.ValueClass = values.get_value_class()


def _leave(code: int | None) -> NoReturn:
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BaseException):
            stream.flush()
    if code is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(1 if code is None else code & 255)


if __name__ == "__main__":
    main()
