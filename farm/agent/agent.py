"""The agent of one slot: takes permits, claims jobs, keeps their attempts going and announces itself to the farm.
Knows jobs and no tensors; a job's own path is farm.agent.attempt.

`serve` is the body of the Celery task. It returns when the engine is about to be free, so that a busy agent holds no
other permit, and at most one attempt is prepared while another renders.
"""

import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable

from prometheus_client import REGISTRY

from farm.agent.attempt import Attempt
from farm.agent.attempt_context import AttemptContext
from farm.agent.device_health import DeviceHealth
from farm.agent.engine_room import EngineRoom
from farm.agent.held_attempts import HeldAttempts
from farm.agent.idle_watch import IdleWatch
from farm.agent.lora_cache import LoraCache
from farm.agent.out_of_service import OutOfService, OwnTrouble, disk_trouble
from farm.agent.own_status import OwnStatus
from farm.agent.permit_watch import PermitWatch
from farm.agent.quarantine import QuarantineWatch
from farm.agent.stop_request import HandedBack
from farm.claiming import presence
from farm.claiming.claims import Claims
from farm.claiming.leases import LeaseKeeper
from farm.claiming.metrics_page import serve_metrics
from farm.claiming.permits import Permits
from farm.claiming.standby_reap import StandbyReaper
from farm.config import Settings
from farm.engine.gpu_readings import GpuReadings
from farm.engine.slots import Slot
from farm.jobs.errors import JobFault, Unavailable
from farm.jobs.job import Job
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
LOOK_S = 1.0
#: results that may be on their way to the store while the next job renders; with more, nothing new is claimed
MOST_FINISHING = 2
#: how often a quarantined agent asks whether an operator has forgiven it
QUARANTINE_LOOK_S = 2.0
#: the last status of an agent that had to end is shown for this long, or until its successor announces itself
PARTED_FOR_S = 60.0
#: a worker that may not take the job that waits lets others hear the permit for this long
STEP_BACK_S = 1.5
#: handing attempts back takes no longer
HAND_BACK_S = 5.0


class Agent:
    """One worker: claims jobs of its pool and renders them on one device."""

    def __init__(
        self,
        settings: Settings,
        slot: Slot,
        on_useless: Callable[[str], None],
        on_quarantine: Callable[[str], None],
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_useless(why)` is called from a thread when this process cannot work any more: it must end soon,
        with an error, so that its supervisor starts another. `on_quarantine(why)` the same, but it drains first.
        `on_idle()` when nothing came for worker.end_when_idle_s: it drains and ends for good. All return at once."""
        self.slot, self.pool = slot, settings.worker.pool
        self.worker = f"{socket.gethostname()}/{slot.name}"
        self._settings, self._on_useless, self._on_quarantine = settings, on_useless, on_quarantine
        self._on_idle, self._idle = on_idle, IdleWatch(settings.worker.end_when_idle_s)
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
            leases=LeaseKeeper(self._ledger, settings.lease.seconds, self.worker),
            loras=LoraCache(state / "loras", store, int(settings.worker.lora_cache_gb * 1e9)),
            scratch=scratch,
            health=self.health,
            policies=Policies(settings.provenance, Tenants(redis, settings)),
            troubled=self._troubled,
            blame=self._blame,
        )
        self._reaper = StandbyReaper(self._ledger, self._context.permits, settings)
        self._held = HeldAttempts()
        self._draining = threading.Event()
        self._claims = Claims(self._ledger, self._context.permits, self.pool, self.worker)
        self._permits_heard = PermitWatch(self._ledger, self._claims, settings)
        self._own = OwnStatus(slot, self.room, self.health, self._service, self._held, draining=self._draining)
        self._presence = presence.Presence(
            self._ledger,
            self.worker,
            self.pool,
            self._own.status,
            self._own.slots,
            lease_s=settings.lease.seconds,
            on_look=self._listen,
            on_reaped=self._reaper.heard,
            on_away=self._permits_heard.forget,
            go_on=self._is_of_use,
        )
        self._context.leases.take_along(self._presence)

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
        if port and self.slot.visible:
            REGISTRY.register(GpuReadings(self.slot.visible))
        self._own.metrics = serve_metrics(ProcessRole.AGENT, worker.metrics_host, port)
        self._presence.start()
        self._quarantine.sit_out(self._draining, QUARANTINE_LOOK_S)
        self.room.open()
        threading.Thread(target=self._tell_ready, name="ready", daemon=True).start()

    def _tell_ready(self) -> None:
        """Announce at once that the engine takes work, so that permits come."""
        if self.wait_ready():
            self._presence.news()

    def wait_ready(self) -> bool:
        """Until the engine can take work; False when the agent is to end instead."""
        return self.room.wait(lambda: self.room.ready or self._draining.is_set()) and not self._draining.is_set()

    def drain(self) -> None:
        """Claim nothing more. Attempts that have begun run to their end; one that waits for the engine goes back to
        the queue."""
        self._draining.set()
        self._presence.news()
        for attempt in self._held.in_order():
            attempt.stop_request.ask_if_waiting()

    def join(self) -> None:
        """Until nothing is held any more."""
        self._held.wait_until_none()

    def hand_back(self) -> None:
        """Give every attempt back to the queue, uncounted. Returns when the ledger knows, or after HAND_BACK_S."""
        self.drain()
        for attempt in self._held.in_order():
            attempt.stop_request.ask(HandedBack)
        self.room.close()
        self._held.wait_until_none(HAND_BACK_S)

    def close(self) -> None:
        """End the engine and say goodbye."""
        self.drain()
        self._presence.stop()
        self.room.close()
        try:
            self._presence.leave(seen_for_s=PARTED_FOR_S if self._own.last_words else 0)
            # a permit that this agent took and did not use belongs to somebody else
            self._context.permits.publish(self._ledger.permits_wanted(self.pool))
        except Unavailable:
            log.warning("could not say goodbye; the ledger will notice")

    # --- permits

    def serve(self, permit: str) -> None:
        """One permit: claim a job if there is one, and stay until the engine is about to be free again."""
        with self._permits_heard.serving():
            self._serve(permit)

    def _serve_alone(self) -> None:
        """Work without permits while there are jobs: the broker takes none."""
        with self._permits_heard.serving_none() as alone:
            if alone:
                log.warning("the broker takes no permits: claiming without one")
                self._serve("")
        self._presence.news()

    def _serve(self, permit: str) -> None:
        if not self.wait_ready():
            return
        if self._service.reason():
            self._presence.news()
            self._leave_to_others()
            return
        claim = self._claims.claim(
            permit, loaded=self._lane, memory=Memory.of(self._own.memory()), models=self._own.models()
        )
        left, self._own.leaves = self._own.leaves, claim is None and self._claims.backlog()
        if left != self._own.leaves:
            self._presence.news()
        if claim is None:
            PERMITS.labels(self.pool, "surplus").inc()
            if self._own.leaves:
                self._leave_to_others()
            return
        PERMITS.labels(self.pool, "used").inc()
        attempt = Attempt(claim, self._context, self._ended)
        self._held.add(attempt)
        if self._draining.is_set():
            # drain() was called while the ledger was asked
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
        while not self._claims.may_prefetch():
            if attempt.rendered.wait(LOOK_S):
                break
        self._held.wait_until_fewer_upload(MOST_FINISHING)
        self.wait_ready()

    def _leave_to_others(self) -> None:
        """Only jobs that this worker must skip are queued: republish the permit and pause, so that another worker
        gets it."""
        self._claims.wake()
        self._draining.wait(STEP_BACK_S)

    def _lane(self) -> str | None:
        """What will be loaded when the engine is next free."""
        rendering = self._held.unrendered()
        return rendering[0].job.lane if rendering else self.room.lane

    def _ended(self) -> None:
        self._held.drop_ended()
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
        for attempt in self._held.unrendered():
            if attempt.job.id != job.id:
                attempt.stop_request.ask(HandedBack)
        self._own.last_words = quarantine.reason
        self._on_quarantine(quarantine.reason)

    # --- presence

    def _is_of_use(self) -> bool:
        if self.room.broken.is_set():
            self._useless(f"no engine starts: {self.room.trouble}")
            return False
        return True

    def _listen(self) -> None:
        """An idle agent asks for permits while there is work; one that hears none although there is must end."""
        self._reaper.look()
        waiting = self._permits_heard.look(idle=self._own.slots() > 0)
        if self._nothing_to_do(waiting):
            log.info("no job for %s s", self._settings.worker.end_when_idle_s)
            self._draining.set()
            self._on_idle()
        elif not waiting:
            if self._own.leaves:
                self._own.leaves = False
                self._presence.news()
        elif self._permits_heard.refused:
            # the presence thread must go on telling
            threading.Thread(target=self._serve_alone, name="without-permit", daemon=True).start()
        elif not self._held and self._permits_heard.deaf():
            self._useless(f"jobs are waiting, and no permit came in {self._settings.worker.deaf_s:.0f} s")

    def _nothing_to_do(self, waiting: bool) -> bool:
        """Whether it has been so for worker.end_when_idle_s. A job that waits is something to do until a permit for it
        was served: then it was not for this agent."""
        idle = self._own.slots() > 0 and not self._held and not self._permits_heard.at_work
        if not self._idle.over(time.monotonic(), idle=idle):
            return False
        return not waiting or self._permits_heard.heard_since(self._idle.since)

    def _useless(self, why: str) -> None:
        self._own.last_words = why
        self._on_useless(why)
