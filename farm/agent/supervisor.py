"""`wanfarm worker`: one agent per device, started again when it dies. Takes no job and knows no Redis.

First SIGTERM or SIGINT: drain, every agent finishes what it runs. Second, or the first where worker.on_term says so:
they hand it back and end at once. When this process is killed, its agents hand back and end too. With
worker.end_when_idle_s it ends when every agent has. Must run in the main thread.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from farm import lifeline
from farm.claiming.celery_app import pool_queue
from farm.config import Settings
from farm.engine.slots import NoSuchDevice, Slot, find_slots

log = logging.getLogger(__name__)

#: pause before an agent that died is started again, doubled each time; forgotten once one has lived for a while
PAUSE_S, PAUSE_MAX_S, LIVED_S = 0.5, 30.0, 60.0
#: agents that were asked to hand back are killed after this long
PATIENCE_S = 20.0
#: exit statuses of agents: one that cannot work (its own log and `wanfarm workers` say why), one whose device was
#: quarantined, whose successor sits that out, one that had nothing to do for worker.end_when_idle_s
EX_TEMPFAIL, EX_QUARANTINED, EX_IDLE = 75, 76, 77
_MEANINGS = {EX_TEMPFAIL: " (it cannot work)", EX_QUARANTINED: " (its device is quarantined)"}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def main(settings: Settings) -> int:
    """Run the agents of this machine until a signal ends it. The exit status: 0, or 2 for a device that is not here."""
    try:
        slots = find_slots(settings.worker.devices)
    except NoSuchDevice as error:
        log.error("%s", error)
        return 2
    log.info("one agent for each of: %s", ", ".join(f"{slot.name} ({slot.title})" for slot in slots))
    return Supervisor(settings, slots).run()


def agent_command(settings: Settings, slot: Slot) -> Sequence[str]:
    """The command line of the agent of one slot."""
    return [
        *(sys.executable, "-m", "celery", "-A", "farm.agent.app", "worker", "-n", f"agent-{slot.name}@%h"),
        *("-P", "threads", "-c", "1", "-Q", pool_queue(settings.worker.pool), "-l", "INFO"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ]


class SupervisedAgent:
    """The agent of one slot, from start to start."""

    def __init__(self, settings: Settings, slot: Slot) -> None:
        self.slot = slot
        self._command = agent_command(settings, slot)
        self._environment = {
            "WANFARM_WORKER__SLOT": str(slot),
            # a relative one, or one from the command line
            "WANFARM_STATE_DIR": str(settings.state_dir.absolute()),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause_s = PAUSE_S
        self.due = 0.0
        #: it ended because there was nothing to do, and is not started again
        self.idle = False

    @property
    def running(self) -> bool:
        """Whether the process was started and was not seen to end yet."""
        return self._process is not None

    def start(self) -> None:
        """Start the process."""
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            # an agent whose supervisor was killed hands its attempts back, which a SIGKILL would not let it do
            lifeline.bound(self._command, death=signal.SIGQUIT),
            env={**os.environ, **self._environment},
            stdin=subprocess.DEVNULL,
            # a Ctrl-C in the terminal goes to the supervisor alone
            process_group=0,
        )
        log.info("agent of %s started (pid %d)", self.slot.name, self._process.pid)

    def look(self) -> None:
        """Notice its end, and when to start the next."""
        if self._process is None or self._process.poll() is None:
            return
        lived_s = time.monotonic() - self._started
        status = self._process.returncode
        self._process = None
        if status == EX_IDLE:
            self.idle = True
            log.info("agent of %s ended: it had nothing to do", self.slot.name)
            return
        if lived_s > LIVED_S or status == EX_QUARANTINED:
            self._pause_s = PAUSE_S
        ended = f"ended with {status}{_MEANINGS.get(status, '')} after {lived_s:.0f} s"
        log.warning("agent of %s %s; the next one starts in %.1f s", self.slot.name, ended, self._pause_s)
        self.due = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens when it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class Supervisor:
    """Starts an agent for each device, and starts it again when it dies."""

    def __init__(self, settings: Settings, slots: Sequence[Slot]) -> None:
        self._children = [SupervisedAgent(settings, slot) for slot in slots]
        self._hands_back_at = 1 if settings.worker.on_term == "hand_back" else 2
        self._asked = 0
        self._kill_at: float | None = None

    def run(self) -> int:
        """Until every agent has ended after a signal."""
        with _waking(self._signalled) as wake:
            while True:
                self._tend()
                if not any(child.running or self._may_start(child) for child in self._children):
                    return 0
                wake(self._next_look_s())

    def _tend(self) -> None:
        now = time.monotonic()
        for child in self._children:
            child.look()
            if not child.running and self._may_start(child) and child.due <= now:
                child.start()
        if self._kill_at is not None and self._kill_at <= now:
            self._tell(signal.SIGKILL)

    def _may_start(self, child: SupervisedAgent) -> bool:
        return not self._asked and not child.idle

    def _next_look_s(self) -> float | None:
        """Seconds until something is to be done; None: a signal will say so."""
        moments = [child.due for child in self._children if not child.running and self._may_start(child)]
        if self._kill_at is not None:
            moments.append(self._kill_at)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGCHLD:
            return
        self._asked += 1
        if self._asked < self._hands_back_at:
            log.info("draining; a second signal hands running jobs back")
            self._tell(signal.SIGTERM)
        else:
            log.info("handing running jobs back")
            self._tell(signal.SIGQUIT)
            self._kill_at = self._kill_at or time.monotonic() + PATIENCE_S

    def _tell(self, number: signal.Signals) -> None:
        for child in self._children:
            child.tell(number)


@contextlib.contextmanager
def _waking(handler: "signal._HANDLER") -> Iterator["_Wake"]:
    """A function that sleeps until a signal comes or a time has passed. No signal is slept through."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        before = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, handler) for number in _SIGNALS}
        try:
            yield _Wake(near)
        finally:
            for number, old in handlers.items():
                signal.signal(number, old)
            signal.set_wakeup_fd(before)


class _Wake:
    def __init__(self, near: socket.socket) -> None:
        self._near = near

    def __call__(self, timeout_s: float | None) -> None:
        select.select([self._near], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(1024):
                pass
