"""The agent's side of one engine: starts it, talks to it, notices its death at once, kills it. Never restarts it."""

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from farm.config import Settings
from farm.engine import xids
from farm.engine.protocol import Launch, receive, send
from farm.engine.slots import Slot
from farm.jobs.errors import FarmError
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, RenderResult, Stage

log = logging.getLogger(__name__)

#: how often a waiting render lets its caller look at the clock
WATCH_S = 0.25
#: a dying process is given this long to show how it died, before it is killed for certain
_LAST_BREATH_S = 1.0
#: a killed process that is still there after this long hangs in the kernel (a driver's fault)
_GONE_S = 30.0
_LOG_BYTES = 16 * 1024 * 1024


class EngineDied(FarmError):
    """The engine has died or did not start. The text says how, for operators.

    shared      another render was in the engine when it died, or had poisoned it: this one may not be to blame
    """

    def __init__(self, text: str, *, shared: bool = False) -> None:
        super().__init__(text)
        self.shared = shared


class Engine:
    """One engine process, from start to death. `lane` is what it has loaded; `facts` what its ready message said.

    Any thread may cancel or kill. One render uses the device at a time; the callers decide which one, and how many are
    encoded beside it. Start it from a thread that lives as long as it should: the kernel ends it with that thread.
    """

    def __init__(self, settings: Settings, slot: Slot) -> None:
        self._settings, self.slot = settings, slot
        self.lane: str | None = None
        self.facts: dict[str, Any] = {}
        #: set when the engine can no longer answer
        self.gone = threading.Event()
        self._ready = threading.Event()
        self._changing = threading.Lock()
        self._inboxes: dict[str, queue.SimpleQueue[dict[str, Any] | None]] = {}
        #: (render, op) of what the engine was asked and has not answered -> when; frozen when it dies
        self._in_hand: dict[tuple[str, str], float] = {}
        self._poisoned = False
        #: messages to the engine, written by a thread of their own: when an engine hangs, its pipe fills up and a write
        #: blocks. None: no more
        self._unsaid: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._killing = threading.Lock()
        self._end: str | None = None
        #: what the driver said of the device since it started
        self._reported: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None before the start."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the engine is ready and has not ended."""
        return self._ready.is_set() and not self.gone.is_set()

    def start(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Start the process and wait until it can take work. Raises EngineDied: it ended, it took longer than
        worker.engine_start_s, or it is no longer `wanted`."""
        self._spawn()
        speed = self._settings.speed
        start_s = self._settings.worker.engine_start_s + speed.warm_s * len(speed.warm)
        deadline = time.monotonic() + start_s
        while not self._ready.wait(WATCH_S):
            if self.gone.is_set():
                raise self._died()
            if time.monotonic() > deadline or not wanted():
                self.kill()
                raise EngineDied(f"no engine on {self.slot.name} after {start_s:.0f} s")

    def render(
        self,
        render: str,
        request: RenderRequest,
        on_progress: Callable[[Progress], None],
        watch: Callable[[], None] = lambda: None,
        on_rendered: Callable[[], None] = lambda: None,
    ) -> RenderResult:
        """Have `request` rendered; `render` names it in cancel(). Blocks.

        `on_rendered` is called when the device is done with it: from then on the engine takes the next render. `watch`
        is called several times a second and may raise to stop waiting: the engine still works then, and the caller
        must kill it. Raises RenderFault, Cancelled, EngineDied.
        """
        inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._changing:
            self._inboxes[render] = inbox
        try:
            self._ask("render", render, request=request.to_json())
            while True:
                watch()
                try:
                    message = inbox.get(timeout=WATCH_S)
                except queue.Empty:
                    continue
                if message is None:
                    raise self._died(render)
                if message["ev"] == "rendered":
                    on_rendered()
                elif result := _taken(message, on_progress):
                    return result
        finally:
            with self._changing:
                del self._inboxes[render]

    def prefetch(self, render: str, request: RenderRequest) -> None:
        """Ask the engine to prefetch texts and inputs of the next render. Does nothing for a dead engine."""
        with suppress(EngineDied):
            self._ask("prefetch", render, request=request.to_json())

    def shared(self, render: str) -> bool:
        """Whether it was asked anything besides `render` and has not answered, or is spoilt by another."""
        with self._changing:
            return self._poisoned or any(other != render for other, _ in self._in_hand)

    def readies_s(self, render: str) -> float:
        """For how many seconds it has been making another render than this one ready; 0 when it does not."""
        with self._changing:
            asked = [when for (other, op), when in self._in_hand.items() if op == "prefetch" and other != render]
        return time.monotonic() - min(asked) if asked else 0.0

    def cancel(self, render: str) -> None:
        """Ask that it stops within a step; render() then raises Cancelled. A dead engine needs no asking."""
        with suppress(EngineDied):
            self._send({"op": "cancel", "render": render})

    def kill(self) -> None:
        """End the process and all that it started; returns when they are gone. Harmless to repeat."""
        with self._killing:
            process = self._process
            if process is None or process.returncode is not None:
                return
            self._end = _how(process, _LAST_BREATH_S if self.gone.is_set() else 0.0)
            # until it is reaped, the group's number cannot be anybody else's
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            try:
                process.wait(_GONE_S)
            except subprocess.TimeoutExpired:
                log.error("engine %d does not die: its device hangs", process.pid)
        self._over()

    def _spawn(self) -> None:
        state, worker = self._settings.state_dir.absolute(), self._settings.worker
        locks, logs = state / "engines", state / "logs"
        for folder in (locks, logs):
            folder.mkdir(parents=True, exist_ok=True)
        commands, to_engine = os.pipe()
        from_engine, answers = os.pipe()
        launch = Launch(
            commands=commands,
            answers=answers,
            parent=os.getpid(),
            lock=str(locks / f"{self.slot.name}.lock"),
            device=self.slot.device,
            models_dir=str(self._settings.models_dir.absolute()),
            models=worker.models,
            speed={
                **self._settings.speed.model_dump(
                    include={"attention", "fused", "compile", "fuse_qkv", "vae", "batched_guidance"}
                ),
                "cache_dir": str(state / "kernels"),
            },
            memory={
                "device_bytes": worker.gpu_memory_gb * 1e9 if worker.gpu_memory_gb else None,
                "host_bytes": worker.host_memory_gb * 1e9 if worker.host_memory_gb else None,
                "fp8": worker.fp8_to_fit,
            },
            warm=self._settings.speed.warm,
        )
        try:
            with _log_file(logs / f"engine-{self.slot.name}.log") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", worker.engine, launch.to_text()],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env={**os.environ, **self.slot.environment},
                    pass_fds=(commands, answers),
                    start_new_session=True,
                )
        finally:
            os.close(commands)
            os.close(answers)
        writer = os.fdopen(to_engine, "w", encoding="utf-8")
        threading.Thread(target=self._write, args=(writer,), name=f"to-engine-{self.pid}", daemon=True).start()
        reader = os.fdopen(from_engine, "r", encoding="utf-8")
        reading = threading.Thread(target=self._read, args=(reader,), name=f"engine-{self.pid}", daemon=True)
        reading.start()
        threading.Thread(target=self._wait, args=(self._process.pid, reading), daemon=True).start()
        xids.listen(self.slot, self._device_said, self.gone)

    def _wait(self, pid: int, reading: threading.Thread) -> None:
        """Notice the death also when something that the engine started still holds its end of the pipe."""
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        # its last words may still be in the pipe
        reading.join(_LAST_BREATH_S)
        self._over()

    def _write(self, commands: IO[str]) -> None:
        """Ignores a closed pipe: `_read` reports the engine's last message."""
        # closing says again what could not be said
        with suppress(OSError), commands:
            while (message := self._unsaid.get()) is not None:
                send(commands, message)

    def _read(self, answers: IO[str]) -> None:
        with answers, suppress(OSError, ValueError):
            while (message := receive(answers)) is not None:
                self._heard(message)
        self._over()

    def _heard(self, message: dict[str, Any]) -> None:
        event, render = message["ev"], message.get("render", "")
        with self._changing:
            if event == "ready":
                self.facts = {"device": message["device"], "models": message["models"]}
                self._ready.set()
                return
            self.lane = message.get("lane", self.lane)
            if event == "prefetched":
                log.debug("%s: %s at hand", render, ", ".join(message["parts"]) or "nothing")
                self._in_hand.pop((render, "prefetch"), None)
                return
            if event in ("result", "fault", "cancelled"):
                self._in_hand.pop((render, "render"), None)
            # it ends by itself now, and the others in it must not be blamed
            self._poisoned |= bool(message.get("poisoned"))
            if inbox := self._inboxes.get(render):
                inbox.put(message)

    def _device_said(self, what: str, broken: bool) -> None:
        """A broken device hangs its programs or answers them wrongly: no waiting for the one or the other."""
        log.error("the device of %s: %s", self.slot.name, what)
        self._reported.append(what)
        if broken:
            self.kill()

    def _over(self) -> None:
        """The engine cannot answer any more: wake every waiting caller. Harmless to repeat."""
        with self._changing:
            self.gone.set()
            self._unsaid.put(None)
            for inbox in self._inboxes.values():
                inbox.put(None)

    def _ask(self, op: str, render: str, **values: Any) -> None:
        with self._changing:
            if not self.gone.is_set():
                self._in_hand[render, op] = time.monotonic()
        self._send({"op": op, "render": render, **values})

    def _send(self, message: dict[str, Any]) -> None:
        """Returns at once. An engine that dies of what it reads still has its say: its last words are in the inbox."""
        if self._process is None or self.gone.is_set():
            raise self._died(message["render"])
        self._unsaid.put(message)

    def _died(self, render: str | None = None) -> EngineDied:
        """How it ended. What is left of it, if anything, is killed."""
        self.kill()
        why = f"; the driver reported {', '.join(self._reported[-3:])}" if self._reported else ""
        how = f"the engine on {self.slot.name} {self._end or 'was killed'}{why}"
        return EngineDied(how, shared=self.shared(render or ""))


def _taken(message: dict[str, Any], on_progress: Callable[[Progress], None]) -> RenderResult | None:
    """The result, if that is what it is. Raises what the engine ended with instead."""
    match message["ev"]:
        case "progress":
            stage, fraction = Stage(message["stage"]), message["fraction"]
            on_progress(Progress(stage, fraction, message["step"], message["steps"]))
            return None
        case "cancelled":
            raise Cancelled
        case "fault":
            raise RenderFault(message["code"], message["message"], poisoned=message["poisoned"])
    return RenderResult(**message["result"])


def _how(process: subprocess.Popen[bytes], patience_s: float) -> str | None:
    """How a process ended, found out without reaping it; None when it still runs after patience_s."""
    deadline = time.monotonic() + patience_s
    while True:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            if ended.si_code == os.CLD_EXITED:
                return f"exited with status {ended.si_status}"
            return f"was ended by {signal.Signals(ended.si_status).name}"
        if time.monotonic() > deadline:
            return None
        time.sleep(0.01)  # the pipe closes a moment before the kernel has the exit status


def _log_file(path: Path) -> IO[bytes]:
    """The engine's own output, appended; one older file is kept when it has grown large."""
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
