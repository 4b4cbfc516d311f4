"""The parts that all attempts of one agent share; the agent makes them once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farm.agent.device_health import DeviceHealth
from farm.agent.engine_room import EngineRoom
from farm.agent.lora_cache import LoraCache
from farm.agent.out_of_service import OwnTrouble
from farm.claiming.leases import LeaseKeeper
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.jobs.errors import JobFault
from farm.jobs.job import Job
from farm.ledger import Ledger
from farm.results import provenance
from farm.storage.store import Store


@dataclass(frozen=True)
class AttemptContext:
    """What the attempts of one agent work with."""

    settings: Settings
    worker: str
    ledger: Ledger
    store: Store
    permits: Permits
    room: EngineRoom
    leases: LeaseKeeper
    loras: LoraCache
    #: holds one folder per attempt
    scratch: Path
    health: DeviceHealth
    #: whose results are signed
    policies: provenance.Policies
    #: the worker itself could not do what a job asks; whether the job is free of blame
    troubled: Callable[[Job, OwnTrouble], bool]
    #: a job failed on the device
    blame: Callable[[Job, JobFault], None]
