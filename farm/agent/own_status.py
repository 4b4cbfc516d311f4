"""The status of one agent: its WorkerStatus, and how many jobs it may be woken for."""

import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

from farm.agent.device_health import DeviceHealth
from farm.agent.engine_room import EngineRoom
from farm.agent.held_attempts import HeldAttempts
from farm.agent.out_of_service import OutOfService
from farm.engine.slots import Slot
from farm.jobs.worker_status import WorkerState, WorkerStatus


class OwnStatus:
    """Made from the agent's parts each time it is asked; the attributes are what only the agent knows.

    leaves      jobs wait that this worker must skip
    last_words  why the agent has to end
    metrics     "host:port" of its metrics page
    """

    def __init__(
        self,
        slot: Slot,
        room: EngineRoom,
        health: DeviceHealth,
        service: OutOfService,
        held: HeldAttempts,
        *,
        draining: threading.Event,
    ) -> None:
        self._slot, self._room, self._health = slot, room, health
        self._service, self._held, self._draining = service, held, draining
        self.leaves = False
        self.last_words: str | None = None
        self.metrics: str | None = None

    def status(self) -> WorkerStatus:
        """For operators, admission and other workers."""
        held = self._held.in_order()
        quarantine = self._health.quarantine()
        return WorkerStatus(
            device=self._device().get("name") or self._slot.title or self._slot.name,
            slot=self._slot.name,
            lane=self._room.lane,
            leaves=self.leaves,
            state=WorkerState.QUARANTINED if quarantine else self._state(bool(held)),
            reason=(quarantine.reason if quarantine else self._trouble()) or None,
            until=quarantine.until_iso if quarantine else None,
            job=held[0].job.id if held else None,
            models=tuple(self.models() or ()),
            memory=self.memory(),
            metrics=self.metrics,
            pid=os.getpid(),
            host=socket.gethostname(),
            torch_loaded="torch" in sys.modules,
        )

    def slots(self) -> int:
        """How many jobs it may be woken for: 1 when it can take one, else 0."""
        return int(self._room.ready and not self._draining.is_set() and not self._service.reason())

    def memory(self) -> Mapping[str, Any] | None:
        """What the engine may use, as the engine reported when it started."""
        memory = self._device().get("memory")
        return memory if isinstance(memory, Mapping) else None

    def models(self) -> list[str] | None:
        """Ids of the models that are offered; None until the engine has reported them."""
        models = self._room.facts.get("models")
        return None if models is None else self._service.offered(models)

    def _device(self) -> Mapping[str, Any]:
        device: Mapping[str, Any] = self._room.facts.get("device", {})
        return device

    def _trouble(self) -> str | None:
        why = self.last_words or self._room.trouble or self._service.reason()
        # a worker in service may still lack a model
        return why or "; ".join(self._service.missing().values())

    def _state(self, busy: bool) -> WorkerState:
        if self._room.broken.is_set():
            return WorkerState.BROKEN
        if self._draining.is_set():
            return WorkerState.DRAINING
        if busy:
            return WorkerState.BUSY
        if self._service.reason():
            return WorkerState.OUT_OF_SERVICE
        return WorkerState.IDLE if self._room.ready else WorkerState.STARTING
