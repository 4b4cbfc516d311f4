"""Looks at what waits, decides with farm.burst.decision, and buys: the intent with its hold first, then the submission.
What is decided about a job is kept with its numbers, for whoever asks."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

from farm.burst.account import ProviderAccount
from farm.burst.context import BurstContext
from farm.burst.decision import Chooser, PoolLoad, Promise, QueuedJob, Ranked, Seen, by_gain, predicted, to_buy
from farm.burst.decision_notes import DecisionNotes
from farm.burst.followed import Followed
from farm.burst.followers import Followers
from farm.burst.inputs import CannotHandOver, addresses_of, callback_of, details_of
from farm.burst.local import able_for
from farm.burst.queue_windows import QueueWindows
from farm.claiming import retry
from farm.jobs.job import Job
from farm.jobs.purchase import Cap, OverCap, PurchaseEnding, PurchaseState
from farm.jobs.states import Tier
from farm.ledger import BURST_POOL, INTAKE_POOL, SwitchKind
from farm.ledger.burst_notes import Turn
from farm.ledger.farm_numbers import PoolNumbers, QueueNumbers
from farm.providers.carrier import NoAnswer, NotSent, carry
from farm.providers.entry import Consent, Entry
from farm.providers.gate import SHORTAGES, Wait
from farm.providers.offers import Offer, offers
from farm.providers.registry import KeyMissing
from farm.scheduling.expected_wait import entitlements
from farm.scheduling.forecast import LineForecast, start_s
from farm.scheduling.offers import PoolOffer
from farm.tenants.tenants import Tenant
from farm.wire.http import Can, Outbound, ProviderRefused, Unreadable
from farm.wire.purchase_order import PurchaseOrder

log = logging.getLogger(__name__)

#: endings after which the same provider may be asked again
_UNTRIED = frozenset({PurchaseEnding.NOT_SENT, PurchaseEnding.TURNED_AWAY, PurchaseEnding.NEVER_ARRIVED})
#: a forecast is used for so long
_FRESH_MS = 30_000
_OURS = frozenset({INTAKE_POOL, BURST_POOL})


@dataclass(frozen=True)
class _No:
    """Why a job is not bought of a provider now. `parked`: all jobs there share it, and it is over at a known time."""

    words: str
    parked: bool = False


@dataclass
class _Look:
    """One look at the farm. `spent`: scopes of caps that hold no more in this look; `closed`: why a provider takes
    nothing more in it; `bought`: ids of jobs."""

    now_ms: int
    left: int
    spent: set[str] = field(default_factory=set)
    closed: dict[str, _No] = field(default_factory=dict)
    bought: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Attempt:
    """One purchase that is about to be made, under the name of its submission; `key` is the account's name."""

    job: Job
    offer: Offer
    caps: Sequence[Cap]
    nonce: str
    key: str


class Buyer:
    """One look at a time."""

    def __init__(self, context: BurstContext, followers: Followers) -> None:
        self._context, self._followers = context, followers
        burst = context.settings.burst
        self._choose = Chooser(burst.hour_usd, burst.explore)
        #: (pool, tenant) that jobs are being bought for
        self._buying: set[tuple[str, str]] = set()
        self._offers: Sequence[PoolOffer] = ()
        self._learned: dict[tuple[str, str], Seen] = {}
        self._windows = QueueWindows(burst.looked_at)
        self._notes = DecisionNotes(context.ledger)

    def look(self) -> int:
        """Buy what is to be bought now. Answers how many. Raises Unavailable."""
        context = self._context
        if context.settings.burst.paused or not context.providers.entries:
            return 0
        turn = context.ledger.my_turn("buying", context.worker, 3 * context.settings.burst.every_s)
        if turn is Turn.NOT_MINE:
            return 0
        if turn is Turn.BEGUN:
            self._notes.forget()
        numbers, self._offers = context.ledger.queue_numbers(), context.ledger.offers()
        look, found = _Look(numbers.now_ms, context.settings.burst.most_at_once), []
        self._learned.clear()
        aside = self._at_their_caps()
        queued = {(share.pool, share.tenant): share.queued for share in numbers.shares if share.queued}
        for pool in numbers.pools:
            if pool.pool not in _OURS:
                for at, tenant in sorted(queued.keys() | aside.keys()):
                    if at == pool.pool:
                        found += self._wanted(numbers, pool, tenant, aside.get((at, tenant)))
        for waiting, gain_s, choices in self._in_order(found):
            if look.left <= 0:
                break
            self._buy(waiting, gain_s, choices, look)
        self._windows.turn(look.bought)
        return len(look.bought)

    # --- which
    def _at_their_caps(self) -> dict[tuple[str, str], int]:
        """(pool, tenant) that waits for the end of a running job of its own -> its queued jobs there. For a tenant that
        an operator paused nothing is bought."""
        ledger = self._context.ledger
        paused = {name for kind, name in ledger.paused() if kind is SwitchKind.TENANT}
        return {(one.pool, one.tenant): one.queued for one in ledger.set_aside() if one.tenant not in paused}

    def _wanted(
        self, numbers: QueueNumbers, pool: PoolNumbers, tenant_id: str, aside: int | None
    ) -> list[tuple[QueuedJob, float, list[Ranked]]]:
        """A tenant's jobs in a pool whose promise breaks, and who would render them. `aside`: its jobs there that a cap
        keeps; None: no cap does."""
        burst, ledger = self._context.settings.burst, self._context.ledger
        tenant = self._context.tenants.get(tenant_id)
        consent = Consent((tenant.external if tenant else None) or burst.external)
        if consent is Consent.NEVER:
            return []
        promise = self._promise(tenant)
        window = self._windows.of(pool.pool, tenant_id)
        jobs = ledger.queued_first(pool.pool, tenant_id, self._windows.size, window.skip)
        self._windows.seen(pool.pool, tenant_id, jobs)
        load = _load(numbers, pool, tenant_id)
        buying = (pool.pool, tenant_id) in self._buying
        able, now_ms = (lambda job: able_for(job, self._offers)), numbers.now_ms
        # what is urgent has no cap
        moving = [job for job in jobs if aside is None or job.tier is Tier.URGENT]
        waiting = predicted(
            moving,
            load,
            able,
            share=_share(numbers, pool.pool, tenant_id),
            now_ms=now_ms,
            before=window.before_s,
            foretold=self._foretold(pool.pool, tenant_id, now_ms),
        )
        chosen = to_buy(waiting, load, promise, buying=buying)
        if aside is not None:
            load = _capped(numbers, replace(load, queued=load.queued + aside), tenant_id, tenant)
            kept = [job for job in jobs if job.tier is not Tier.URGENT]
            waiting = predicted(kept, load, able, share=1.0, now_ms=now_ms, before=window.before_s)
            chosen += to_buy(waiting, load, promise, buying=buying)
        (self._buying.add if chosen else self._buying.discard)((pool.pool, tenant_id))
        found = []
        for one, gain_s in chosen:
            choices = self._choices(one, consent)
            if isinstance(choices, str):
                self._notes.say(one, "stays", choices)
            else:
                found.append((one, gain_s, choices))
        return found

    def _foretold(self, pool: str, tenant: str, now_ms: int) -> Callable[[Job, float], float | None]:
        """The scheduler's forecasts of the tenant's lines, while they are fresh."""
        lines: dict[Tier, LineForecast | None] = {}

        def start(job: Job, own_s: float) -> float | None:
            if job.tier not in lines:
                lines[job.tier] = self._context.ledger.forecast(pool, job.tier, tenant)
            line = lines[job.tier]
            if line is None or now_ms - line.at_ms > _FRESH_MS:
                return None
            ahead_s = line.ahead_s(job.position or 0, job.lane, own_s)
            return max(0.0, start_s(line.curve, line.waiting, ahead_s) - (now_ms - line.at_ms) / 1000)

        return start

    def _promise(self, tenant: Tenant | None) -> Promise:
        burst = self._context.settings.burst
        after_s = burst.after_s if tenant is None or tenant.external_after_s is None else tenant.external_after_s
        return Promise(after_s, burst.until_share, burst.least_depth, burst.least_dwell_s)

    def _choices(self, waiting: QueuedJob, consent: Consent) -> list[Ranked] | str:
        """Who would render it, the best first; or why nobody."""
        job = waiting.job
        before = self._context.ledger.purchases_of_job(job.id) if job.purchase_nonce else []
        if any(purchase.state is PurchaseState.OPEN for purchase in before):
            return "it left a purchase of which nothing is known, so nothing more is bought for it"
        if any(purchase.cost for purchase in before):
            return "it was paid for once, and what came was of no use; so it is rendered here"
        in_vain = {purchase.provider for purchase in before if purchase.ending not in _UNTRIED}
        if len(before) - sum(purchase.ending in _UNTRIED for purchase in before) >= self._context.settings.burst.tries:
            return "it was bought in vain before"
        wanted = consent if job.external is None else consent.narrowed(Consent(job.external))
        entries = {name: entry for name, entry in self._context.providers.entries.items() if name not in in_vain}
        # whoever says what may replace his job knows that its seed means nothing elsewhere
        found = offers(entries, job.spec, wanted, promised_seed=job.seed_given and job.external is None)
        if not found.offers:
            return (
                "; ".join(f"{name}: {why}" if name else why for name, why in found.refused.items()) or "nobody sells it"
            )
        return self._choose.ranked(found.offers, entries, self._seen, waiting.due_s)

    def _seen(self, offer: Offer) -> Seen:
        """Asked once in a look: jobs of one model have it in common."""
        known = (offer.provider, offer.model)
        if known not in self._learned:
            learned = self._context.gate.learned(*known)
            self._learned[known] = Seen(learned.failure, learned.seconds, learned.busy_wait_s, learned.failed_cost)
        return self._learned[known]

    def _in_order(
        self, found: Sequence[tuple[QueuedJob, float, list[Ranked]]]
    ) -> list[tuple[QueuedJob, float, list[Ranked]]]:
        choices = {waiting.job.id: ranked for waiting, _, ranked in found}
        ordered = by_gain((waiting, gain_s, ranked[0]) for waiting, gain_s, ranked in found)
        return [(waiting, gain_s, choices[waiting.job.id]) for waiting, gain_s, _ in ordered]

    # --- buying
    def _buy(self, waiting: QueuedJob, gain_s: float, choices: Sequence[Ranked], look: _Look) -> None:
        reasons: dict[str, _No] = {}
        for ranked in choices:
            if self._context.settings.burst.dry_run:
                self._notes.say(waiting, "would_buy", ranked.words(), gain_s, ranked)
                return
            why = self._bought(waiting, gain_s, ranked, look)
            if why is None:
                look.left -= 1
                look.bought.add(waiting.job.id)
                return
            reasons[ranked.offer.provider] = why
        verdict = "parked" if all(why.parked for why in reasons.values()) else "waits"
        words = "; ".join(f"{provider}: {why.words}" for provider, why in sorted(reasons.items()))
        self._notes.say(waiting, verdict, words, gain_s)

    def _bought(self, waiting: QueuedJob, gain_s: float, ranked: Ranked, look: _Look) -> _No | None:
        """None once it is bought, else why it is not."""
        context, job, offer = self._context, waiting.job, ranked.offer
        caps = self._caps(job.tenant, offer.provider)
        if full := next((cap.scope for cap in caps if cap.scope in look.spent), None):
            return _No(f"the cap of {full} is reached")
        if why := look.closed.get(offer.provider):
            return why
        nonce = uuid4().hex
        taken = context.gate.take(offer.provider, None, nonce)
        if isinstance(taken, Wait):
            log.info("%s: %s", offer.provider, taken)
            # what a provider says is for operators
            until = datetime.fromtimestamp(look.now_ms / 1000 + taken.seconds, UTC)
            no = _No(f"{taken.why} until {until:%H:%M:%S} UTC", parked=taken.why in SHORTAGES)
            look.closed[offer.provider] = no
            return no
        used = False
        try:
            why, used = self._with_place(_Attempt(job, offer, caps, nonce, taken.key), look)
        finally:
            if not used:
                context.gate.give(offer.provider, taken.key, nonce)
        if why is None:
            self._notes.say(waiting, "bought", ranked.words(), gain_s, ranked)
        return why

    def _with_place(self, attempt: _Attempt, look: _Look) -> tuple[_No | None, bool]:
        """(why it was not bought, whether the place at the provider is used)."""
        context, job, offer, nonce = self._context, attempt.job, attempt.offer, attempt.nonce
        entry = context.providers.entries[offer.provider]
        try:
            client = context.providers.client_of(entry.name, attempt.key)
            inputs = addresses_of(job.spec, entry, client, context)
        except (CannotHandOver, KeyMissing) as error:
            return _No(str(error)), False
        details = details_of(inputs, callback_of(job.id, nonce, entry, context.settings.gateway.public_url))
        price = max(offer.price_micro, _quoted(client, entry, offer, job, inputs) or 0)
        # asked until it answers: a call that may have bought finds its own lease under the same name
        claim = retry.redis(
            lambda: context.ledger.buy(
                job.id,
                context.worker,
                nonce,
                intent_of(offer, attempt.key, job.batch),
                price=price,
                caps=attempt.caps,
                details=details,
            )
        )
        if isinstance(claim, OverCap):
            if claim.cap.scope in ("farm", f"tenant {job.tenant}"):
                look.spent.add(claim.cap.scope)
            return _No(_over(claim, job.tenant)), False
        if claim is None:
            # the intent may be stored all the same: then the answer came when the lease had run out
            retry.redis(lambda: context.ledger.never_sent(nonce))
            return _No("it is no longer there to be bought"), False
        purchase = retry.redis(lambda: context.ledger.purchase(nonce))
        assert purchase is not None
        account = ProviderAccount(context, entry, purchase, job.spec)
        self._followers.follow(Followed(claim, account, context, fresh=True))
        return None, True

    def _caps(self, tenant_id: str, provider: str) -> list[Cap]:
        burst, tenant = self._context.settings.burst, self._context.tenants.get(tenant_id)
        own = (tenant.external_day_usd, tenant.external_month_usd) if tenant else (None, None)
        table = {
            f"tenant {tenant_id}": (
                burst.tenant_day_usd if own[0] is None else own[0],
                burst.tenant_month_usd if own[1] is None else own[1],
            ),
            f"provider {provider}": (burst.provider_day_usd, burst.provider_month_usd),
            "farm": (burst.farm_day_usd, burst.farm_month_usd),
        }
        return [
            Cap(scope, period, round(usd * 1e6))
            for scope, both in table.items()
            for period, usd in zip(("day", "month"), both, strict=True)
            if usd is not None
        ]


def intent_of(offer: Offer, key: str, batch: str | None) -> Mapping[str, object]:
    """What is kept of a choice, in the ledger and in the recipe. The key's name, never the key."""
    of_batch = {"batch": batch} if batch else {}
    return of_batch | {
        "provider": offer.provider,
        "dialect": offer.dialect,
        "key": key,
        "model": offer.model,
        "sold": offer.sold,
        "match": offer.match,
        "source": offer.source,
        "dialect_data": dict(offer.dialect_data),
    }


def _quoted(client: Outbound, entry: Entry, offer: Offer, job: Job, inputs: Mapping[str, str]) -> int | None:
    """What the provider itself says that it will cost, where it can be asked; None otherwise. Costs nothing."""
    if Can.ESTIMATE not in client.can:
        return None
    order = PurchaseOrder(job.spec, inputs, dialect_data=offer.dialect_data, model=offer.model)
    try:
        return entry.usd_micro(client.estimated(carry(client.estimate(order), entry.timeout_s)).credits_micro)
    except (NotSent, NoAnswer, Unreadable, ProviderRefused) as error:
        log.info("%s estimates nothing: %s", entry.name, error)
        return None


def _over(over: OverCap, tenant: str) -> str:
    """For a tenant: of other scopes it learns no amounts."""
    if over.cap.scope == f"tenant {tenant}":
        return str(over)
    return f"the {over.cap.period}'s cap of {over.cap.scope} does not hold its price"


def _load(numbers: QueueNumbers, pool: PoolNumbers, tenant: str) -> PoolLoad:
    queued = sum(one.queued for one in numbers.shares if one.pool == pool.pool)
    mine = sum(one.queued for one in numbers.shares if one.pool == pool.pool and one.tenant == tenant)
    # of what is queued, others' part by number: the ledger adds up seconds per pool
    others_s = pool.queued_s * (queued - mine) / queued if queued else 0.0
    return PoolLoad(pool.pool, pool.slots, pool.leases, pool.queued, others_s, pool.open_s, pool.paused)


def _capped(numbers: QueueNumbers, load: PoolLoad, tenant_id: str, tenant: Tenant | None) -> PoolLoad:
    """What its caps leave the tenant of the pool. A cap of the whole farm counts what it runs in any pool."""
    everywhere, here = (tenant.max_running, tenant.max_running_in.get(load.pool)) if tenant else (None, None)
    caps = [cap for cap in (everywhere, here) if cap is not None]
    if not caps:
        return load
    pools = {load.pool} if everywhere != min(caps) else {one.pool for one in numbers.pools}
    busy_s = sum(one.open_s for one in numbers.shares if one.tenant == tenant_id and one.pool in pools)
    return replace(load, slots=min(load.slots, *caps), others_s=0.0, busy_s=busy_s, capped=True)


def _share(numbers: QueueNumbers, pool: str, tenant: str) -> float:
    wanting = {one.tenant: one.weight or 1.0 for one in numbers.shares if one.pool == pool and one.queued}
    return entitlements(wanting).get(tenant, 1.0)
