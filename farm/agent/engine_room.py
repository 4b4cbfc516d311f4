"""Keeps one engine alive on one slot and lends it: to one attempt that uses the device, while it may still
encode another one's last frames. Knows nothing of jobs."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from farm.config import Settings
from farm.engine.process import Engine, EngineDied
from farm.engine.slots import Slot
from farm.jobs.errors import FarmError
from models.planning.request import RenderRequest
from monitoring.metrics import ENGINE_KILLS, ENGINE_STARTS, ENGINE_UP

log = logging.getLogger(__name__)

#: pauses between failed starts; after as many failures in a row the agent gives up and says so by ending
_PAUSES_S = (0.5, 2.0, 8.0)
#: how often a waiting attempt checks whether it should still wait
_LOOK_S = 0.25
#: renders whose frames an engine holds at once, rendering or encoding
_MOST_IN_HAND = 2
#: a prefetch takes seconds; one whose job was cancelled may delay the engine for others this long
_READY_S = 30.0


class NoEngine(FarmError):
    """No engine will come: the room closed, or none would start."""


@dataclass(eq=False)
class Loan:
    """The engine, lent to one attempt. `alone`: no other attempt gets it until this one has ended."""

    engine: Engine
    alone: bool
    _rendered: Callable[["Loan"], None]

    def rendered(self) -> None:
        """The attempt no longer needs the device: another may use it."""
        self._rendered(self)


class EngineRoom:
    """`open()` starts the engine and replaces every one that dies, until `close()`. `broken` is set when none would
    start. The engine is started from a thread of this room's own: the kernel ends it with the thread that did."""

    def __init__(self, settings: Settings, slot: Slot) -> None:
        self._settings, self.slot = settings, slot
        self._ready_s = min(_READY_S, settings.lease.stuck_s)
        self.broken = threading.Event()
        #: why the last engine did not start; None once one did
        self.trouble: str | None = None
        self.facts: dict[str, Any] = {}
        self._closing = threading.Event()
        self._change = threading.Condition()
        self._engine: Engine | None = None
        self._drawing: Loan | None = None
        self._finishing: set[Loan] = set()
        self._thread = threading.Thread(target=self._keep, name="engine-room", daemon=True)

    @property
    def lane(self) -> str | None:
        """What the engine has loaded; None when it has just started or is away."""
        engine = self._engine
        return engine.lane if engine else None

    @property
    def ready(self) -> bool:
        """There is a living engine, lent or not."""
        engine = self._engine
        return engine is not None and engine.alive

    @property
    def free(self) -> bool:
        """Whether an engine is ready and no render uses its device."""
        return self.ready and self._drawing is None

    def open(self) -> None:
        """Start the first engine, in a thread that starts the next one whenever one dies. Call once."""
        self._thread.start()

    def close(self) -> None:
        """End the engine and start no other. A render in it ends with EngineDied."""
        self._closing.set()
        with self._change:
            engine = self._engine
            self._change.notify_all()
        if engine:
            engine.kill()
        if self._thread.is_alive():
            self._thread.join()

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Until `condition()`; False when the room closed or broke instead."""
        with self._change:
            while not condition():
                if self._closing.is_set() or self.broken.is_set():
                    return False
                self._change.wait(_LOOK_S)
        return True

    @contextmanager
    def lend(self, render: str, look: Callable[[], None], *, alone: bool = False) -> Iterator[Loan]:
        """Lend the engine to `render`. After `Loan.rendered` another render may use the device while this is encoded;
        `alone` keeps everyone else out until it ends. `look` is called while waiting and may raise to give up.

        An engine that still prefetches for a cancelled job is lent when that is done, and replaced when it takes longer
        than 30 s. Raises NoEngine.
        """
        most_beside = 0 if alone else _MOST_IN_HAND - 1
        while True:
            with self._change:
                while not self.free or len(self._finishing) > most_beside or self._readies_s(render):
                    look()
                    if self._closing.is_set() or self.broken.is_set():
                        raise NoEngine(f"there is no engine on {self.slot.name}")
                    if self.free and self._readies_s(render) > self._ready_s:
                        break
                    self._change.wait(_LOOK_S)
                else:
                    assert self._engine is not None
                    loan = self._drawing = Loan(self._engine, alone, self._rendered)
                    break
                hung = self._engine
            # without the lock: a driver may keep a dying process for long
            if hung is not None:
                self.replace(hung, "stuck in a prefetch for a cancelled job")
        try:
            yield loan
        finally:
            with self._change:
                self._drawing = None if self._drawing is loan else self._drawing
                self._finishing.discard(loan)
                self._change.notify_all()

    def _readies_s(self, render: str) -> float:
        engine = self._engine
        return engine.readies_s(render) if engine else 0.0

    def _rendered(self, loan: Loan) -> None:
        with self._change:
            if self._drawing is loan and not loan.alone:
                self._drawing = None
                self._finishing.add(loan)
                self._change.notify_all()

    def prefetch(self, render: str, request: RenderRequest) -> None:
        """Let an engine that renders another job prefetch this one. Does nothing when the engine is free or lent
        alone."""
        with self._change:
            loan = self._drawing
        if loan is not None and not loan.alone:
            loan.engine.prefetch(render, request)

    def replace(self, engine: Engine, reason: str) -> None:
        """Kill an engine that misbehaves; another is started. Returns when it has ended."""
        ENGINE_KILLS.labels(reason).inc()
        log.warning("killing the engine on %s (pid %s): %s", self.slot.name, engine.pid, reason)
        engine.kill()

    def _keep(self) -> None:
        failures = 0
        while not self._closing.is_set():
            engine = Engine(self._settings, self.slot)
            try:
                engine.start(wanted=lambda: not self._closing.is_set())
            except (EngineDied, OSError) as error:
                if self._closing.is_set():
                    return
                ENGINE_STARTS.labels("failed").inc()
                self.trouble = str(error)
                log.error("%s (see the engine's log in the logs folder)", error)
                if failures == len(_PAUSES_S):
                    self._break()
                    return
                self._closing.wait(_PAUSES_S[failures])
                failures += 1
                continue
            failures, self.trouble = 0, None
            ENGINE_STARTS.labels("ready").inc()
            self._serve(engine)

    def _serve(self, engine: Engine) -> None:
        """From ready to gone."""
        log.info("engine on %s is ready (pid %s)", self.slot.name, engine.pid)
        with self._change:
            self.facts = engine.facts
            self._engine = engine
            self._change.notify_all()
        ENGINE_UP.set(1)
        if self._closing.is_set():
            engine.kill()
        engine.gone.wait()
        ENGINE_UP.set(0)
        # also what it had started
        engine.kill()
        with self._change:
            self._engine = None
            self._change.notify_all()

    def _break(self) -> None:
        log.critical("no engine starts on %s", self.slot.name)
        self.broken.set()
        with self._change:
            self._change.notify_all()
