"""`wanfarm up`: start every part in order, keep each running, end them all. It knows processes and no jobs.

Its life: take the folder's lock -> decide addresses -> start the foundation (Redis, S3) -> make the first tenant
and keys -> start the rest -> watch, restarting what dies -> on a signal end the parts from the last to the first.

Signals: the first SIGINT, SIGTERM or SIGHUP drains (a running render may end), the second hands it back and hurries,
the third kills. A killed `wanfarm up` takes everything with it (farm.lifeline). Must run in the main thread.
"""

import logging
import os
import select
import signal
import socket
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from farm.config import CONFIG_ENV, Settings
from farm.embedded import settings_file
from farm.embedded.first_keys import first_keys
from farm.embedded.folder import ClientNotes, StateFolder
from farm.embedded.part import PartPhase, PartProcess, Rank, now_s
from farm.embedded.parts import parts_of
from farm.embedded.plan import StackPlan, decide
from farm.embedded.stale_processes import await_leftovers
from farm.jobs.errors import FarmError, Unavailable
from farm.ledger import server
from farm.ledger.connection import connect

log = logging.getLogger(__name__)

#: how long to sleep when no signal comes: readiness is asked this often
TICK_S = 0.1
#: and when everything is ready, so that only logs need a look
QUIET_S = 2.0
#: a part that dies so often before the farm was ever up is broken, not unlucky
HOPELESS = 5
#: two signals of one kind that are sent at once arrive as one
SECOND_SIGNAL_S = 0.3
#: lines of a log that are said of a part that takes long
_FEW = 5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PartBroken(FarmError):
    """A part dies whenever it is started: the farm cannot come up. The text ends with its log's last lines."""


@dataclass(frozen=True)
class StackEvent:
    """What happened to a part ("ready", "died", "slow", "stopping", "stopped") or to the farm as a whole ("up",
    "draining", "hurrying", "killing", "down", with part None). `detail` is for people."""

    what: str
    part: str | None = None
    detail: str = ""


class Stack:
    """One farm in `settings.state_dir`. `say` hears what happens, from the supervising thread."""

    def __init__(self, settings: Settings, say: Callable[[StackEvent], None]) -> None:
        self.folder = StateFolder(settings.state_dir)
        self._given = settings
        self._hear = say
        self._children: list[PartProcess] = []
        self._signals = 0
        self._announced = 0
        self._up = False
        self._noted = True
        self._notes: ClientNotes | None = None
        #: keys were made at this start, so they should be shown
        self.new_keys = False
        self._plan: StackPlan | None = None

    @property
    def client(self) -> ClientNotes:
        """Address and keys; there once the farm is up."""
        assert self._notes is not None
        return self._notes

    def run(self) -> int:
        """Until a signal has ended everything. 0 after a clean end.

        Raises Busy, BadPlan, UnsafeServer, PartBroken (everything that was started has ended then).
        """
        with self.folder.locked(), self._listening_to_signals() as wake:
            await_leftovers(self.folder)
            self._plan = plan = decide(self._given, self.folder)
            if not plan.own_redis:
                self._say_server(plan)
            self.folder.write_private(self.folder.settings_file, settings_file.render(plan.settings))
            gateway = plan.settings.gateway
            with socket.create_server((gateway.host, gateway.port), backlog=1024) as door:
                self._children = self._make_children(plan, door.fileno())
                try:
                    while not self._over():
                        self._tick()
                        quiet = all(child.phase is PartPhase.READY for child in self._children)
                        select.select([wake], [], [], QUIET_S if quiet else TICK_S)
                        _drain_socket(wake)
                finally:
                    for child in self._children:
                        child.kill()
                    for child in self._children:
                        child.wait()
                    self.folder.run_file.unlink(missing_ok=True)
            self._say(StackEvent("down"))
        return 0

    # --- one turn of the loop
    def _tick(self) -> None:
        now = now_s()
        before = [(child.phase, child.pid) for child in self._children]
        self._bury(now)
        if self._signals:
            self._announce_stop()
            self._stop_next(now)
        for child in self._children:
            self._advance(child, now)
        if not self._up and not self._signals and all(child.phase is PartPhase.READY for child in self._children):
            self._up = True
            self._write_running()
            self._say(StackEvent("up", detail=self._plan.url if self._plan else ""))
        if not self._noted or [(child.phase, child.pid) for child in self._children] != before:
            self._write_running()

    def _bury(self, now: float) -> None:
        for child in self._children:
            stopping = child.phase is PartPhase.STOPPING
            status = child.exited(now)
            if status is None:
                continue
            if stopping:
                self._say(StackEvent("stopped", child.part.name))
                continue
            why = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            log.warning("%s died: %s", child.part.name, why)
            self._say(StackEvent("died", child.part.name, f"{why}; again in {max(0.0, child.again_at - now):.1f} s"))
            if not self._up and not self._signals and child.deaths >= HOPELESS:
                raise PartBroken(f"{child.part.name} cannot be started ({why}); see {child.log}\n{child.last_words()}")

    def _advance(self, child: PartProcess, now: float) -> None:
        """Start what may start, look whether what started is ready."""
        if child.phase is PartPhase.STARTING:
            if child.check_ready(now):
                self._say(StackEvent("ready", child.part.name, child.part.address))
            elif (started_s := child.slow(now)) is not None:
                # it may be loading, or its own children may die again and again: its log shows which
                words = textwrap.indent(child.last_words(_FEW), "    ")
                detail = f"not ready after {started_s:.0f} s; {child.log} ends with\n{words}"
                self._say(StackEvent("slow", child.part.name, detail))
        elif child.phase is PartPhase.READY:
            child.set_log_aside()
            if not self._stands(child):
                child.excuse(now)
            elif not child.look(now):
                self._say(StackEvent("hung", child.part.name, f"no answer for {child.part.hung_s:.0f} s: killed"))
        elif (child.phase is PartPhase.DOWN and now >= child.again_at) or (
            child.phase is PartPhase.WAITING and not self._signals and self._founded(child)
        ):
            child.start(now)

    def _stands(self, child: PartProcess) -> bool:
        if child.part.rank is Rank.FOUNDATION:
            return True
        return all(c.answers for c in self._children if c.part.rank is Rank.FOUNDATION)

    def _founded(self, child: PartProcess) -> bool:
        if child.part.rank is Rank.FOUNDATION:
            return True
        if not all(c.was_ready for c in self._children if c.part.rank is Rank.FOUNDATION):
            return False
        if self._notes is None:
            assert self._plan is not None
            try:
                if self._plan.own_redis:
                    self._say_server(self._plan)
                before = self.folder.client()
                self._notes = first_keys(self._plan.settings, self._plan.url, self.folder)
                self.new_keys = before is None or before.key != self._notes.key
            except Unavailable:
                # Redis has died between its first answer and this: it comes again, and so do we
                return False
        return True

    def _stop_next(self, now: float) -> None:
        """End the parts of the highest rank that still has any; what they rest on keeps running (and is kept)."""
        hurry = self._signals > 1
        rank = max((c.part.rank for c in self._children if c.phase is not PartPhase.ENDED), default=None)
        for child in self._children:
            if child.part.rank is not rank or child.phase is PartPhase.ENDED:
                continue
            if self._signals > 2 or (child.kill_at is not None and now >= child.kill_at):
                child.kill()
            elif child.phase is not PartPhase.STOPPING:
                self._say(StackEvent("stopping", child.part.name))
                child.stop(now, None if child.part.drains else self._stop_s)
            elif hurry and child.kill_at is None and now - child.asked_at > SECOND_SIGNAL_S:
                child.hurry(now, self._stop_s)

    def _say_server(self, plan: StackPlan) -> None:
        with connect(plan.settings.redis) as redis:
            server.say(redis, plan.settings.redis)

    def _over(self) -> bool:
        return self._signals > 0 and all(child.phase is PartPhase.ENDED for child in self._children)

    @property
    def _stop_s(self) -> float:
        return self._given.embedded.stop_s

    def _say(self, report: StackEvent) -> None:
        try:
            self._hear(report)
        except OSError as error:
            # the message cannot be written (a full disk, a closed terminal); the farm goes on
            log.warning("could not report %s: %s", report, error)

    # --- around the loop
    def _make_children(self, plan: StackPlan, gateway_socket: int) -> list[PartProcess]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANFARM_")}
        environment |= {CONFIG_ENV: str(self.folder.settings_file), "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
        return [
            PartProcess(
                part,
                log=self.folder.logs / f"{part.name}.log",
                environment=environment,
                backoff_s=self._given.embedded.backoff_s,
                backoff_max_s=self._given.embedded.backoff_max_s,
            )
            for part in parts_of(plan, self.folder, gateway_socket=gateway_socket)
        ]

    def _write_running(self) -> None:
        parts: dict[str, Any] = {
            child.part.name: {"pid": child.pid, "phase": str(child.phase), "deaths": child.deaths}
            for child in self._children
        }
        url = self._plan.url if self._plan else None
        try:
            self.folder.write_running({"pid": os.getpid(), "up": self._up, "url": url, "parts": parts})
        except OSError as error:
            # a full disk must not end what keeps the farm up
            log.warning("could not write which processes run: %s", error)
            self._noted = False
        else:
            self._noted = True

    @contextmanager
    def _listening_to_signals(self) -> Iterator[socket.socket]:
        """A socket that becomes readable at every signal, so that the loop reacts at once."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        old_fd = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        old = {number: signal.signal(number, self._on_stop) for number in _STOP_SIGNALS}
        # without a handler the end of a child would not wake the loop
        old[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield ours
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_fd)
            ours.close()
            theirs.close()

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    def _announce_stop(self) -> None:
        if self._signals > self._announced:
            self._announced = self._signals
            self._say(StackEvent({1: "draining", 2: "hurrying"}.get(self._signals, "killing")))


def _drain_socket(wake: socket.socket) -> None:
    try:
        while wake.recv(512):
            pass
    except BlockingIOError:
        pass
