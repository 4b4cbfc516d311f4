"""One process of the farm: how it is started, when it is ready, how often it died. It decides nothing by itself."""

import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

from farm import lifeline

log = logging.getLogger(__name__)

#: a part that ran this long before it died starts over with the shortest backoff
STEADY_S = 30.0
#: report a part that takes longer to start, and again after twice as long
SLOW_S = 30.0
#: how often a part that was ready is asked whether it still is
LOOK_S = 5.0
#: questions without an answer after which it may hang
MISSES = 3
#: a log is set aside (one old copy is kept) when it has grown to this
LOG_BYTES = 20 * 1024 * 1024


class Rank(IntEnum):
    """Parts start when every FOUNDATION is ready, and end from the highest rank down."""

    FOUNDATION = 0
    SERVICE = 1
    WORKER = 2


class PartPhase(StrEnum):
    """Where a part of `wanfarm up` is between its start and its end."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DOWN = "down"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True)
class Part:
    """A part of the farm: a process to start and watch.

    ready      asked while it starts, from the supervising thread: answers within a second, raises nothing
    address    for people
    drains     its first SIGTERM lets running work end, however long that takes; the second hurries
    files      descriptors that it inherits
    patience_s alive but not ready for so long: it is started again. None: as long as it takes (Redis loading)
    hung_s     was ready, and is not for so long: the same. None: what it waits for (a disk) is not mended by that
    """

    name: str
    rank: Rank
    command: Sequence[str]
    ready: Callable[[], bool]
    address: str = ""
    drains: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    files: tuple[int, ...] = ()
    patience_s: float | None = 120.0
    hung_s: float | None = None


class PartProcess:
    """A part and its process. Times are seconds of the monotonic clock, passed in as `now`."""

    def __init__(
        self, part: Part, *, log: Path, environment: Mapping[str, str], backoff_s: float, backoff_max_s: float
    ) -> None:
        self.part = part
        self.log = log
        self.phase = PartPhase.WAITING
        self.deaths = 0
        self.was_ready = False
        self.again_at = 0.0
        self.kill_at: float | None = None
        self.asked_at = 0.0
        self._environment = {**environment, **part.environment}
        self._backoff_s, self._backoff_max_s = backoff_s, backoff_max_s
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._streak = 0
        self._slow_at = 0.0
        self._look_at = self._answered_at = 0.0
        self._missed = 0

    @property
    def pid(self) -> int | None:
        """The process id; None while no process runs."""
        return self._process.pid if self._process else None

    def start(self, now: float) -> None:
        """Start it; when the machine does not let us (a full disk, no more processes), later again."""
        try:
            self._process = self._spawn()
        except OSError as error:
            log.error("%s cannot be started: %s", self.part.name, error)
            self._fall(now)
            return
        self.phase, self._started_at = PartPhase.STARTING, now
        self._slow_at = now + SLOW_S

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self.set_log_aside()
        with self.log.open("ab") as out:
            return subprocess.Popen(
                lifeline.bound(self.part.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # a neutral place: an `api` or `models` folder of the user's must not be imported instead of ours
                cwd=self.log.parent,
                pass_fds=self.part.files,
                process_group=0,
            )

    def _fall(self, now: float) -> None:
        """It does not run: the next start is due after a pause that grows."""
        steady = self.phase is PartPhase.READY and now - self._started_at > STEADY_S
        self._streak = 0 if steady else self._streak + 1
        self.again_at = now + min(self._backoff_max_s, self._backoff_s * 2 ** max(0, self._streak - 1))
        self.phase = PartPhase.DOWN

    @property
    def answers(self) -> bool:
        """It was ready, and was when it was last asked."""
        return self.phase is PartPhase.READY and self._answered_at + LOOK_S >= self._look_at

    def exited(self, now: float) -> int | None:
        """The exit status (negative: a signal) when the process has just ended, else None. Sets the next start."""
        process = self._process
        if process is None:
            return None
        # look before reaping: as long as the leader is a zombie, its group's number cannot be somebody else's
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self._signal_group(signal.SIGKILL)
        status = process.wait()
        self._process, self.kill_at = None, None
        self.deaths += self.phase is not PartPhase.STOPPING
        if self.phase is PartPhase.STOPPING:
            self.phase = PartPhase.ENDED
            return status
        self._fall(now)
        return status

    def check_ready(self, now: float) -> bool:
        """Whether it has just become ready. One that is not within its patience is killed, to start again."""
        if self.part.ready():
            self.phase, self.was_ready = PartPhase.READY, True
            self._answered_at, self._look_at, self._missed = now, now + LOOK_S, 0
            return True
        if self.part.patience_s is not None and now - self._started_at > self.part.patience_s:
            self.kill()
        return False

    def look(self, now: float) -> bool:
        """Of one that is ready, once in a while: whether it still answers. One that has not for too long is killed, to
        start again."""
        if now < self._look_at:
            return True
        self._look_at = now + LOOK_S
        if self.part.ready():
            self._answered_at, self._missed = now, 0
            return True
        self._missed += 1
        # asked more than once: this process may itself have stood still for so long
        silent = self.part.hung_s is not None and now - self._answered_at > self.part.hung_s
        if silent and self._missed >= MISSES:
            self.kill()
            return False
        return True

    def excuse(self, now: float) -> None:
        """A part that it needs is away: it is not asked, and its time-out starts again."""
        self._answered_at, self._look_at, self._missed = now, now + LOOK_S, 0

    def slow(self, now: float) -> float | None:
        """The seconds that it has been starting for, when that is to be reported now; else None."""
        if now < self._slow_at:
            return None
        started_s = now - self._started_at
        self._slow_at = now + started_s
        return started_s

    def stop(self, now: float, stop_s: float | None) -> None:
        """Ask it to end; `stop_s` later it is killed (None: never)."""
        if self._process is None:
            self.phase = PartPhase.ENDED
            return
        self.phase, self.asked_at = PartPhase.STOPPING, now
        self.kill_at = None if stop_s is None else now + stop_s
        self._process.send_signal(signal.SIGTERM)

    def hurry(self, now: float, stop_s: float) -> None:
        """Signal a draining part a second time: it hands its jobs back."""
        self.kill_at = now + stop_s
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the part and its children."""
        if self._process is not None:
            self._signal_group(signal.SIGKILL)

    def wait(self) -> None:
        """Block until the process has ended."""
        if self._process is not None:
            self._process.wait()

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, without empty lines."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 8192))
                words = log.read().decode(errors="replace").splitlines()
                return "\n".join([line for line in words if line.strip()][-lines:])
        except OSError:
            return ""

    def set_log_aside(self) -> None:
        """Copy and cut: the part goes on writing to the same file (it is open for appending)."""
        try:
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
                os.truncate(self.log, 0)
        except FileNotFoundError:
            pass

    def _signal_group(self, number: signal.Signals) -> None:
        assert self._process is not None
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            # the group is empty but for the zombie (macOS calls that EPERM), or not made yet
            self._process.kill()


def now_s() -> float:
    """Seconds of the monotonic clock."""
    return time.monotonic()
