"""`wanfarm burst`: one process that buys and follows. Several may run: each follows what it has a lease of, and what
one of them held is resumed by whoever is there."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

from farm.burst.account import ProviderAccount
from farm.burst.balances import Balances
from farm.burst.buyer import Buyer
from farm.burst.context import BurstContext
from farm.burst.followed import Followed
from farm.burst.followers import Followers
from farm.burst.left import LeftPurchases
from farm.claiming.leases import LeaseKeeper
from farm.claiming.metrics_page import serve_metrics
from farm.claiming.permits import Permits
from farm.claiming.presence import Presence
from farm.claiming.standby_reap import StandbyReaper
from farm.config import Settings
from farm.guard import Guard
from farm.jobs.errors import FarmError, Unavailable
from farm.jobs.job import Claim
from farm.jobs.states import Phase
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import BURST_POOL, Ledger, server
from farm.ledger.connection import connect
from farm.providers.gate import Gate
from farm.providers.registry import Providers
from farm.results.provenance import Policies
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from monitoring.roles import ProcessRole

log = logging.getLogger(__name__)

#: how often is asked for jobs that nobody follows, and jobs that one process follows at most
RESUME_S, MOST_FOLLOWED = 1.0, 1000
#: a job that cannot be followed here, for want of a key or of its provider, is left to others for this long
_ELSEWHERE_S = 30.0
#: steps that are under way when the process ends have this long
_CLOSE_S = 10.0
#: one wait for callbacks
_TOLD_MS = 1000


def context_of(settings: Settings, worker: str) -> BurstContext:
    """The parts, connected. Raises ProviderSettingsWrong."""
    redis = connect(settings.redis)
    ledger, tenants = Ledger(redis, settings), Tenants(redis, settings)
    networks = (*settings.intake.allow_networks, *settings.burst.allow_networks)
    providers = Providers(settings)
    return BurstContext(
        settings=settings,
        worker=worker,
        ledger=ledger,
        store=Store(settings.s3),
        permits=Permits(settings),
        leases=LeaseKeeper(ledger, settings.lease.seconds, worker),
        providers=providers,
        gate=Gate(redis, settings, providers.entries),
        policies=Policies(settings.provenance, tenants),
        tenants=tenants,
        guard=Guard(settings.intake.model_copy(update={"allow_networks": networks})),
        scratch=settings.state_dir / "burst",
    )


class Burst:
    """Runs until `stop` is set."""

    def __init__(self, context: BurstContext, stop: threading.Event) -> None:
        burst = context.settings.burst
        self._context, self._stop = context, stop
        self._followers = Followers(burst.threads, burst.downloads)
        self._buyer = Buyer(context, self._followers)
        self._left = LeftPurchases(context)
        self._balances = Balances(context)
        self._reaper = StandbyReaper(context.ledger, context.permits, context.settings)
        self._presence = Presence(
            context.ledger,
            context.worker,
            BURST_POOL,
            self._status,
            # it asks for itself: no permit wakes it
            lambda: 0,
            lease_s=context.settings.lease.seconds,
            on_look=self._reaper.look,
            on_reaped=self._reaper.heard,
        )
        context.leases.take_along(self._presence)
        self.metrics: str | None = None

    def run(self) -> None:
        """Resume, buy and follow. What is left at the end goes to whoever comes next."""
        self._context.scratch.mkdir(parents=True, exist_ok=True)
        self._presence.start()
        burst = self._context.settings.burst
        every = {
            "told": (self._hear, 0.0),
            "buy": (self._buyer.look, burst.every_s),
            "balances": (self._balances.look, burst.balances_every_s),
            "left": (self._left.look, burst.left_every_s),
        }
        for name, (act, seconds) in every.items():
            threading.Thread(target=self._again, args=(name, act, seconds), name=name, daemon=True).start()
        resume_at = 0.0
        while not self._stop.is_set():
            self._followers.changed.clear()
            if time.monotonic() >= resume_at:
                self._guarded("resume", self._resume)
                resume_at = time.monotonic() + RESUME_S
            pause_s = min(self._followers.turn(), max(0.0, resume_at - time.monotonic()))
            self._followers.changed.wait(pause_s)
        self._followers.close(_CLOSE_S)
        self._context.leases.close()
        self._guarded("leave", self._presence.leave)

    def _resume(self) -> None:
        context = self._context
        while len(self._followers) < MOST_FOLLOWED and not self._stop.is_set():
            claim = context.ledger.claim(BURST_POOL, context.worker)
            if claim is None:
                return
            self._follow(claim)

    def _follow(self, claim: Claim) -> None:
        context, job = self._context, claim.job
        purchase = context.ledger.purchase(job.purchase_nonce or "")
        try:
            entry = context.entry_of(purchase) if purchase else None
            if purchase is None or entry is None:
                raise LookupError(f"no provider here for {job.purchase}")
            account = ProviderAccount(context, entry, purchase, job.spec)
        except (LookupError, FarmError) as error:
            if isinstance(error, Unavailable):
                raise
            log.error("%s cannot be followed: %s", job.id, error)
            context.ledger.release(job.id, claim.attempt, delay_s=_ELSEWHERE_S)
            return
        # a link to a result runs out: those are fetched first; of the others not all are asked about at once
        first = job.phase == Phase.DOWNLOADING
        self._followers.follow(Followed(claim, account, context), 0.0 if first else 0.01 * (len(self._followers) % 200))

    def _hear(self) -> None:
        after = getattr(self, "_heard_to", "$")
        nonces, self._heard_to = self._context.ledger.told_purchases(after, _TOLD_MS)
        for nonce in nonces:
            self._followers.told(nonce)

    def _again(self, name: str, act: Callable[[], object], seconds: float) -> None:
        while not self._stop.wait(seconds):
            if not self._guarded(name, act):
                self._stop.wait(1.0)

    def _guarded(self, name: str, act: Callable[[], object]) -> bool:
        try:
            act()
        except Unavailable as error:
            log.warning("%s: %s", name, error)
            return False
        except Exception:
            log.exception("%s", name)
            return False
        return True

    def _status(self) -> WorkerStatus:
        return WorkerStatus(device="burst", metrics=self.metrics, pid=os.getpid(), host=socket.gethostname())


def main(settings: Settings) -> int:
    """Until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    context = context_of(settings, f"{socket.gethostname()}/burst-{os.getpid()}")
    server.say(connect(settings.redis), settings.redis)
    burst = Burst(context, stop)
    burst.metrics = serve_metrics(ProcessRole.BURST, settings.worker.metrics_host, settings.burst.metrics_port)
    burst.run()
    return 0
