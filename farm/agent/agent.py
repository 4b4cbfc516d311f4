"""The agent of one slot: takes permits, claims jobs, keeps their attempts going and tells the farm that it is there.
Knows jobs and no tensors; a job's own path is farm.agent.attempt.

`serve` is the body of the Celery task. It returns when the engine is about to be free, so that a busy agent holds no
other permit, and at most one attempt is prepared while another is drawn.
"""

import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from farm.agent.attempt import Attempt
from farm.agent.attempt_context import AttemptContext
from farm.agent.device_health import DeviceHealth
from farm.agent.engine_room import EngineRoom
from farm.agent.lora_cache import LoraCache
from farm.agent.out_of_service import OutOfService, OwnTrouble, disk_trouble
from farm.agent.quarantine import QuarantineWatch
from farm.agent.stop_request import HandedBack
from farm.claiming import presence
from farm.claiming.claims import Claims
from farm.claiming.leases import LeaseKeeper
from farm.claiming.metrics_page import serve_metrics
from farm.claiming.permits import Permits
from farm.claiming.standby_reap import StandbyReaper
from farm.config import Settings
from farm.engine.slots import Slot
from farm.jobs.errors import JobFault, Unavailable
from farm.jobs.job import Job
from farm.jobs.worker_status import WorkerState, WorkerStatus
from farm.ledger import Ledger, server
from farm.ledger.connection import connect
from farm.results.provenance import Policies
from farm.scheduling.memory_fit import Memory
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from monitoring.metrics import PERMITS
from monitoring.roles import ProcessRole

log = logging.getLogger(__name__)

#: how often an agent whose engine is about to be free looks for a job to prepare
LOOK_S = 0.5
#: results that may be on their way to the store while the next job renders; with more, nothing new is claimed
MOST_FINISHING = 2
#: what an agent that had to end last said of itself is shown for this long, or until its successor speaks
PARTED_FOR_S = 60.0
#: a worker that may not take the job that waits lets others hear the permit for this long
STEP_BACK_S = 1.5
#: handing attempts back takes no longer
HAND_BACK_S = 5.0


class Agent:
    def __init__(
        self,
        settings: Settings,
        slot: Slot,
        on_useless: Callable[[str], None],
        on_quarantine: Callable[[str], None],
    ) -> None:
        """`on_useless(why)` is called from a thread when this process can do no more good: it must end soon, with
        an error, so that whoever started it starts another. `on_quarantine(why)` the same, but it drains first;
        both return at once."""
        self.slot, self.pool = slot, settings.worker.pool
        self.worker = f"{socket.gethostname()}/{slot.name}"
        self._settings, self._on_useless, self._on_quarantine = settings, on_useless, on_quarantine
        self._redis = redis = connect(settings.redis)
        self._ledger = Ledger(redis, settings)
        self.health = DeviceHealth(settings, slot)
        self._quarantine = QuarantineWatch(self.health, self._ledger, self.worker)
        self.room = EngineRoom(settings, slot)
        store, state = Store(settings.s3), settings.state_dir.absolute()
        scratch = state / "scratch" / slot.name
        self._service = OutOfService(scratch)
        self._context = AttemptContext(
            settings=settings,
            worker=self.worker,
            ledger=self._ledger,
            store=store,
            permits=Permits(settings),
            room=self.room,
            leases=LeaseKeeper(self._ledger, settings.lease.seconds),
            loras=LoraCache(state / "loras", store, int(settings.worker.lora_cache_gb * 1e9)),
            scratch=scratch,
            health=self.health,
            policies=Policies(settings.provenance, Tenants(redis, settings)),
            troubled=self._troubled,
            blame=self._blame,
        )
        self._reaper = StandbyReaper(self._ledger, self._context.permits, settings)
        self._held: set[Attempt] = set()
        self._change = threading.Condition()
        self._draining = threading.Event()
        self._permit_heard = time.monotonic()
        self._claims = Claims(self._ledger, self._context.permits, self.pool, self.worker)
        self._presence = presence.Presence(
            self._ledger,
            self.worker,
            self.pool,
            self._status,
            self._slots,
            told=self._listen,
            untold=self._unheard,
            go_on=self._is_of_use,
        )
        #: a permit is being served: no other is heard
        self._serving = False
        #: what waits is not for this agent
        self._leaves = False
        self._deaf_since: float | None = None
        self._parting: str | None = None
        self._metrics: str | None = None

    # --- life

    def start(self) -> None:
        """Announce the agent and open the engine room, once a quarantine is over. Attempts left by a killed predecessor
        are the reaper's; their files are removed here. Raises UnsafeServer."""
        server.say(self._redis, self._settings.redis)
        shutil.rmtree(self._context.scratch, ignore_errors=True)
        try:
            self._context.scratch.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._service.report(OwnTrouble(disk_trouble(error)), "")
        worker = self._settings.worker
        port = worker.metrics_port and worker.metrics_port + self.slot.number
        self._metrics = serve_metrics(ProcessRole.AGENT, worker.metrics_host, port)
        self._presence.start()
        self._quarantine.sit_out(self._draining, presence.EVERY_S)
        self.room.open()

    def wait_ready(self) -> bool:
        """Until the engine can take work; False when the agent is to end instead."""
        return self.room.wait(lambda: self.room.ready or self._draining.is_set()) and not self._draining.is_set()

    def drain(self) -> None:
        """Claim nothing more. What has begun runs to its end; what is held ahead of it is handed back."""
        self._draining.set()
        self._presence.news()
        with self._change:
            held = list(self._held)
        for attempt in held:
            attempt.stop_request.ask_if_waiting()

    def join(self) -> None:
        """Until nothing is held any more."""
        with self._change:
            self._change.wait_for(lambda: not self._held)

    def hand_back(self) -> None:
        """Give every attempt back to the queue, uncounted. Returns when the ledger knows, or after HAND_BACK_S."""
        self.drain()
        with self._change:
            held = list(self._held)
        for attempt in held:
            attempt.stop_request.ask(HandedBack)
        self.room.close()
        with self._change:
            self._change.wait_for(lambda: not self._held, HAND_BACK_S)

    def close(self) -> None:
        """End the engine and say goodbye."""
        self.drain()
        self._presence.stop()
        self.room.close()
        try:
            self._presence.leave(seen_for_s=PARTED_FOR_S if self._parting else 0)
            # a permit that this agent took and did not use belongs to somebody else
            self._context.permits.publish(self._ledger.permits_wanted(self.pool))
        except Unavailable:
            log.warning("could not say goodbye; the ledger will notice")

    # --- permits

    def serve(self, permit: str) -> None:
        """One permit: claim a job if there is one, and stay until the engine is about to be free again."""
        self._serving = True
        try:
            self._serve(permit)
        finally:
            self._permit_heard = time.monotonic()
            self._serving = False

    def _serve(self, permit: str) -> None:
        self._permit_heard = time.monotonic()
        if not self.wait_ready():
            return
        if self._service.reason():
            self._presence.news()
            self._leave_to_others()
            return
        claim = self._claims.claim(permit, loaded=self._lane, memory=Memory.of(self._memory()), models=self._models())
        left, self._leaves = self._leaves, claim is None and self._claims.backlog()
        if left != self._leaves:
            self._presence.news()
        if claim is None:
            PERMITS.labels(self.pool, "surplus").inc()
            if self._leaves:
                self._leave_to_others()
            return
        PERMITS.labels(self.pool, "used").inc()
        attempt = Attempt(claim, self._context, self._ended)
        with self._change:
            self._held.add(attempt)
        if self._draining.is_set():
            # it was told to while the ledger was asked
            attempt.stop_request.ask_if_waiting()
        try:
            attempt.start()
        except RuntimeError as error:
            # no thread can be started
            log.error("an attempt cannot be started: %s", error)
            attempt.abandon()
            self._leave_to_others()
            return
        self._presence.news()
        self._claims.wake()
        attempt.nearly_done.wait()
        # with nothing to prepare meanwhile, a new job is better off with a worker that is free
        while not self._claims.backlog() or self._others_idle():
            if attempt.rendered.wait(LOOK_S):
                break
        with self._change:
            self._change.wait_for(lambda: self._finishing() < MOST_FINISHING)
        self.wait_ready()

    def _leave_to_others(self) -> None:
        """Only jobs that this worker must skip are queued: republish the permit and pause, so that another worker
        gets it."""
        self._claims.wake()
        self._draining.wait(STEP_BACK_S)

    def _others_idle(self) -> bool:
        """Whether another worker of the pool waits for a job at this moment, as far as it has told, and could take what
        there is."""
        try:
            others = [one for one in self._ledger.workers() if (one.pool, one.worker) != (self.pool, self.worker)]
            return any(
                one.pool == self.pool and one.status.state is WorkerState.IDLE and not one.status.leaves
                for one in others
            )
        except Unavailable:
            return False

    def _memory(self) -> Mapping[str, Any] | None:
        """What the engine may use, as it told when it started."""
        memory = self.room.facts.get("device", {}).get("memory")
        return memory if isinstance(memory, Mapping) else None

    def _models(self) -> list[str] | None:
        """Ids of the models that are offered; None while the engine has told nothing."""
        models = self.room.facts.get("models")
        return None if models is None else self._service.offered(models)

    def _lane(self) -> str | None:
        """What will be loaded when the engine is next free."""
        with self._change:
            rendering = [attempt for attempt in self._held if not attempt.rendered.is_set()]
        return rendering[0].job.lane if rendering else self.room.lane

    def _finishing(self) -> int:
        return sum(attempt.rendered.is_set() for attempt in self._held)

    def _ended(self) -> None:
        with self._change:
            self._held = {attempt for attempt in self._held if not attempt.ended.is_set()}
            self._change.notify_all()
        self._presence.news()

    # --- trouble and quarantine

    def _troubled(self, job: Job, trouble: OwnTrouble) -> bool:
        """An attempt met this worker's own trouble; whether the job is free of blame."""
        innocent = self._service.report(trouble, job.id)
        self._presence.news()
        return innocent

    def _blame(self, job: Job, fault: JobFault) -> None:
        """A job failed on the device. When a quarantine begins with it, the agent ends."""
        quarantine = self._quarantine.strike(job, fault)
        if quarantine is None:
            return
        self.drain()
        with self._change:
            others = [one for one in self._held if one.job.id != job.id and not one.rendered.is_set()]
        for attempt in others:
            attempt.stop_request.ask(HandedBack)
        self._parting = quarantine.reason
        self._on_quarantine(quarantine.reason)

    # --- presence

    def _slots(self) -> int:
        """Only one that can take a job is to be woken."""
        return int(self.room.ready and not self._draining.is_set() and not self._service.reason())

    def _unheard(self) -> None:
        self._deaf_since = None

    def _is_of_use(self) -> bool:
        if self.room.broken.is_set():
            self._useless(f"no engine starts: {self.room.trouble}")
            return False
        return True

    def _listen(self) -> None:
        """An idle agent asks for permits while there is work; one that hears none although there is has gone deaf."""
        self._reaper.look()
        idle = self.room.ready and not self._serving and not self._draining.is_set() and not self._service.reason()
        now = time.monotonic()
        if not idle or not self._ledger.claimable(self.pool, most=1):
            self._deaf_since, self._leaves = None, False
            return
        overdue_s = self._settings.scheduling.permit_ttl_s
        self._claims.wake(heard_none=self._deaf_since is not None and now - self._deaf_since > overdue_s)
        if self._deaf_since is None or self._permit_heard > self._deaf_since:
            self._deaf_since = now
        elif not self._held and now - self._deaf_since > self._settings.worker.deaf_s:
            self._useless(f"jobs are waiting, and no permit came in {self._settings.worker.deaf_s:.0f} s")

    def _useless(self, why: str) -> None:
        self._parting = why
        self._on_useless(why)

    def _status(self) -> WorkerStatus:
        with self._change:
            # the one that is drawn, then the next one, then what is on its way out
            held = sorted(self._held, key=lambda attempt: (attempt.rendered.is_set(), attempt.claimed))
        device = self.room.facts.get("device", {})
        quarantine = self.health.quarantine()
        why = quarantine.reason if quarantine else self._parting or self.room.trouble or self._service.reason()
        # what it could do but for that is told as well
        why = why or "; ".join(self._service.missing().values())
        return WorkerStatus(
            device=device.get("name") or self.slot.title or self.slot.name,
            slot=self.slot.name,
            lane=self.room.lane,
            leaves=self._leaves,
            state=WorkerState.QUARANTINED if quarantine else self._state(bool(held)),
            reason=why or None,
            until=quarantine.until_iso if quarantine else None,
            job=held[0].job.id if held else None,
            phase=held[0].phase if held else None,
            models=tuple(self._models() or ()),
            memory=self._memory(),
            metrics=self._metrics,
            pid=os.getpid(),
            host=socket.gethostname(),
            torch_loaded="torch" in sys.modules,
        )

    def _state(self, busy: bool) -> WorkerState:
        if self.room.broken.is_set():
            return WorkerState.BROKEN
        if self._draining.is_set():
            return WorkerState.DRAINING
        if busy:
            return WorkerState.BUSY
        if self._service.reason():
            return WorkerState.OUT_OF_SERVICE
        return WorkerState.IDLE if self.room.ready else WorkerState.STARTING
