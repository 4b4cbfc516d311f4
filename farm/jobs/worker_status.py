"""What a worker tells of itself, and what is known of one that is live."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self


class WorkerState(StrEnum):
    """STARTING: its engine is not up yet. IDLE: it waits for a job. DRAINING: it finishes what it has and takes nothing
    more. BROKEN: no engine starts. QUARANTINED: different jobs failed on its device. OUT_OF_SERVICE: it is in trouble
    of its own (a full disk, say). The last three come with a reason."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    BROKEN = "broken"
    QUARANTINED = "quarantined"
    OUT_OF_SERVICE = "out_of_service"


#: states in which a worker takes jobs, or will when its engine is up
AT_WORK = frozenset({WorkerState.STARTING, WorkerState.IDLE, WorkerState.BUSY})


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker tells every few seconds, for operators, for admission and for other workers.

    device        its name; slot: which of its machine's it is, as farm.engine.slots names them
    models        ids of the models that it offers; lane: what is loaded
    memory        what its engine may use, as farm.scheduling.memory_fit.Memory reads it
    job           what it renders now; phase: of that job, filled in where the ledger is read
    leaves        what waits is not for it: an idle worker that does not take it
    reason        why it is out of service; until: ISO 8601, when a quarantine ends
    metrics       "host:port" of its page for Prometheus
    torch_loaded  a promise that is told so that it can be checked: always False
    """

    device: str = ""
    state: WorkerState = WorkerState.IDLE
    models: tuple[str, ...] = ()
    slot: str | None = None
    lane: str | None = None
    memory: Mapping[str, Any] | None = None
    job: str | None = None
    phase: str | None = None
    leaves: bool = False
    reason: str | None = None
    until: str | None = None
    metrics: str | None = None
    pid: int | None = None
    host: str | None = None
    torch_loaded: bool = False

    def to_json(self) -> dict[str, Any]:
        """As from_json reads it; what is None is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """From what a worker of any version told: what is not known here is left out, and a state that is not known is
        BUSY, which at least promises nothing."""
        known = {field.name: raw[field.name] for field in fields(cls) if field.name in raw}
        known["models"] = tuple(map(str, known.get("models") or ()))
        state = known.get("state", WorkerState.IDLE)
        known["state"] = next((one for one in WorkerState if one == state), WorkerState.BUSY)
        return cls(**known)


@dataclass(frozen=True)
class LiveWorker:
    """A worker that told its status lately.

    live_until_ms  when it counts as gone unless it tells again, by the ledger's clock
    """

    worker: str
    pool: str
    status: WorkerStatus
    live_until_ms: int
