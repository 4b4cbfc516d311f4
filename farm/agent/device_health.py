"""The health of one slot's device: the jobs in a row that failed on it, and the quarantine that follows. Kept on
disk, so that no crash or restart clears it. Knows no Redis: the caller says how a job fared on other devices."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from farm.config import Settings
from farm.engine.slots import Slot
from farm.jobs.errors import FaultCode, JobFault
from monitoring.metrics import STRIKES

log = logging.getLogger(__name__)

#: how a bad device ends renders
HARD = frozenset({FaultCode.DEVICE_FAULT, FaultCode.BAD_OUTPUT, FaultCode.ENGINE_DIED, FaultCode.STUCK})
#: and how too large or ill-fated jobs do: believed of the device only when jobs of two tenants agree, so that
#: failures of one tenant alone do not take the device from the others
SOFT = frozenset({FaultCode.ENGINE_ERROR, FaultCode.OUT_OF_MEMORY})
#: how what a tenant brought ends renders: weights make NaN of any numbers, a black picture makes a black clip, and what
#: nobody foresaw in either kills or stops an engine. A bad device does so to two tenants
_OF_WHAT_WAS_BROUGHT = frozenset({FaultCode.BAD_OUTPUT, FaultCode.ENGINE_DIED, FaultCode.STUCK})
#: strikes kept, the last ones
_KEPT = 100


@dataclass(frozen=True)
class Strike:
    """`brought`: the job's tenant had a hand in the numbers, with a LoRA, a picture or a clip of its own."""

    job: str
    tenant: str
    code: str
    message: str
    brought: bool = False

    @property
    def hard(self) -> bool:
        """Whether this failure speaks against the device itself, whatever the job brought."""
        return self.code in HARD and not (self.brought and self.code in _OF_WHAT_WAS_BROUGHT)


@dataclass(frozen=True)
class Quarantine:
    """`until`: seconds since the epoch, by this machine's clock."""

    reason: str
    until: float

    @property
    def until_iso(self) -> str:
        """When the quarantine ends, as ISO 8601 in UTC."""
        return datetime.fromtimestamp(self.until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Record:
    """`device`: what it was said of, as the slot's text. `times`: quarantines since the last good render."""

    device: str
    strikes: tuple[Strike, ...] = ()
    times: int = 0
    quarantine: Quarantine | None = None

    def guilty(self, limit: int) -> bool:
        """Whether the device is to blame: `limit` hard failures, or `limit` failures of several tenants."""
        hard = sum(strike.hard for strike in self.strikes)
        tenants = len({strike.tenant for strike in self.strikes})
        return hard >= limit or (tenants > 1 and len(self.strikes) >= limit)

    def reason(self) -> str:
        """Why the device is suspect, for operators."""
        last = self.strikes[-1]
        return f"{len(self.strikes)} different jobs in a row failed here; the last: {last.code}: {last.message}"

    def to_text(self) -> str:
        """The record as JSON, as it is kept on disk."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The record back from its JSON. Raises KeyError, TypeError or ValueError for a broken file."""
        raw = json.loads(text)
        strikes = tuple(Strike(**strike) for strike in raw["strikes"])
        quarantine = Quarantine(**raw["quarantine"]) if raw["quarantine"] else None
        return cls(str(raw["device"]), strikes, int(raw["times"]), quarantine)


class DeviceHealth:
    """Threads may share one."""

    def __init__(self, settings: Settings, slot: Slot, clock: Callable[[], float] = time.time) -> None:
        self._worker, self._clock = settings.worker, clock
        self._path = settings.state_dir.absolute() / "health" / f"{slot.name}.json"
        self._changing = threading.Lock()
        self._record = self._read(str(slot))

    @property
    def suspects(self) -> tuple[str, ...]:
        """Ids of the jobs that speak against the device."""
        return tuple(strike.job for strike in self._record.strikes)

    def quarantine(self) -> Quarantine | None:
        """The one that lasts now."""
        with self._changing:
            found = self._record.quarantine
            if found is None:
                return None
            # a clock that was set back must not make it last for years
            if 0 < found.until - self._clock() <= self._worker.quarantine_max_s:
                return found
            log.warning("the quarantine is over: the device is tried again")
            self._write(replace(self._record, strikes=(), quarantine=None))
            return None

    def strike(self, job: str, tenant: str, fault: JobFault, *, brought: bool = False) -> Quarantine | None:
        """A job failed on the device. The quarantine, if one begins with it. `brought`: as in Strike."""
        with self._changing:
            record, limit = self._record, self._worker.strikes
            if fault.code not in HARD | SOFT or job in self.suspects or record.quarantine:
                return None
            STRIKES.labels(fault.code).inc()
            strikes = (*record.strikes, Strike(job, tenant, fault.code, fault.message, brought))[-_KEPT:]
            record = replace(record, strikes=strikes)
            if limit and record.guilty(limit):
                lasts_s = min(self._worker.quarantine_s * 2 ** min(record.times, 30), self._worker.quarantine_max_s)
                quarantine = Quarantine(record.reason(), self._clock() + lasts_s)
                record = replace(record, times=record.times + 1, quarantine=quarantine)
            self._write(record)
            return record.quarantine

    def rendered(self) -> None:
        """A job succeeded: nothing speaks against the device. One that was on its way when a quarantine began does
        not end that."""
        with self._changing:
            if self._record.quarantine is None and (self._record.strikes or self._record.times):
                self._write(Record(self._record.device))

    def acquit(self, jobs: Iterable[str]) -> None:
        """These jobs are to blame themselves. A quarantine that rested on them never was."""
        with self._changing:
            record, innocent = self._record, frozenset(jobs)
            if not innocent.intersection(self.suspects):
                return
            record = replace(record, strikes=tuple(one for one in record.strikes if one.job not in innocent))
            if record.quarantine and not record.guilty(self._worker.strikes):
                log.warning("the quarantine ends: its jobs failed elsewhere, too")
                record = replace(record, times=record.times - 1, quarantine=None)
            self._write(record)

    def forgive(self) -> None:
        """An operator says that the device is good."""
        with self._changing:
            self._write(Record(self._record.device))

    def _read(self, device: str) -> Record:
        clean = Record(device)
        try:
            record = Record.from_text(self._path.read_text())
        except FileNotFoundError:
            return clean
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read and is ignored: %s", self._path, error)
            return clean
        # another GPU may have taken its place
        return record if record.device == device else clean

    def _write(self, record: Record) -> None:
        self._record = record
        draft = Path(f"{self._path}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(record.to_text())
            draft.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written, a restart will forget it: %s", self._path, error)
