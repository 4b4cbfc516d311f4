"""Bought jobs: the intent before the submission, and nothing that makes a second one."""

from datetime import UTC, datetime, timedelta

import pytest
from ledger_parts import ARTIFACTS, BROKE, POOL, admit, audit, claimed, new_job, outage, pass_time
from redis import Redis

from farm.jobs.job import Claim, Job
from farm.jobs.purchase import Cap, OverCap, Payer, Purchase, PurchaseEnding, PurchaseNews, PurchaseState
from farm.jobs.states import HoldReason, Phase, State
from farm.ledger import BURST_POOL, INTAKE_POOL, CommitOutcome, FailOutcome, Ledger, Verdict
from farm.ledger.scripts import lua_settings, source

PURCHASE = {"provider": "kie", "key": "main", "price": 420}


def found(ledger: Ledger, job_id: str) -> Job:
    job = ledger.find(job_id)
    assert job is not None
    return job


@pytest.fixture
def job_id(ledger: Ledger) -> str:
    return admit(ledger, new_job(hold=10))[0]


def test_the_intent_is_stored_with_the_claim(ledger: Ledger, job_id: str) -> None:
    claim = ledger.buy(job_id, "burst-1", "n1", PURCHASE, price=0)
    assert claim is not None
    assert (claim.attempt, claim.job.state, claim.job.phase) == (1, State.RUNNING, Phase.SUBMITTING)
    assert (claim.job.purchase, claim.job.purchase_id, claim.job.worker) == (PURCHASE, None, "burst-1")
    again = ledger.buy(job_id, "burst-1", "n1", PURCHASE, price=0)
    assert again is not None
    assert again.attempt == 1
    assert ledger.buy(job_id, "burst-2", "n2", PURCHASE, price=0) is None
    assert ledger.claim(POOL, "w1") is None
    assert ledger.claim(BURST_POOL, "burst-2") is None
    assert audit(ledger) == {}


@pytest.mark.parametrize("phase", [Phase.SUBMITTING, Phase.PROVIDER_QUEUED, Phase.GENERATING, Phase.DOWNLOADING])
def test_a_lease_that_runs_out_at_a_provider_is_resumed_and_not_counted(
    phase: Phase, ledger: Ledger, redis: Redis, job_id: str
) -> None:
    for n in range(1, 6):  # more often than a lost worker would be forgiven
        claim = ledger.buy(job_id, "b", "n1", PURCHASE, price=0) if n == 1 else ledger.claim(BURST_POOL, f"b{n}")
        assert claim is not None
        if n == 1 and phase is not Phase.SUBMITTING:
            assert ledger.bought("n1", "p-77") is PurchaseNews.KNOWN
            ledger.heartbeat(job_id, claim.attempt, phase=phase, progress=0.5)
        assert claim.attempt == n
        pass_time(redis, 3600)
        report = ledger.reap()
        assert (report.expired, report.resumable) == (0, 1)
        assert ledger.claim(POOL, "w1") is None
        assert ledger.buy(job_id, "b", f"other-{n}", PURCHASE, price=0) is None
        assert audit(ledger) == {}
    job = found(ledger, job_id)
    assert (job.state, job.attempts_used, job.worker_losses, job.purchase) == (State.RUNNING, 0, 0, PURCHASE)
    # nobody knows any more whether the submission arrived
    assert job.phase == (Phase.SUBMIT_UNKNOWN if phase is Phase.SUBMITTING else phase)
    assert job.purchase_id == (None if phase is Phase.SUBMITTING else "p-77")
    last = claimed(ledger, BURST_POOL)
    assert ledger.commit(job_id, last.attempt, ARTIFACTS, gpu_s=0) is CommitOutcome.COMMITTED


def test_a_lease_that_runs_out_in_our_own_hands_is_a_lost_worker(ledger: Ledger, redis: Redis, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    assert claim is not None
    ledger.bought("n1", "p-77")
    ledger.heartbeat(job_id, claim.attempt, phase=Phase.UPLOADING, progress=0.9)
    pass_time(redis, 3600)
    assert ledger.reap().expired == 1
    job = found(ledger, job_id)
    assert (job.attempts_used, job.worker_losses, job.state, job.purchase_id) == (1, 1, State.RUNNING, "p-77")
    pass_time(redis, 3600)
    assert ledger.claim(POOL, "w1") is None
    assert claimed(ledger, BURST_POOL).job.id == job_id


def test_the_provider_s_id_is_stored_also_by_one_who_lost_the_lease(ledger: Ledger, redis: Redis, job_id: str) -> None:
    ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    pass_time(redis, 3600)
    ledger.reap()
    assert found(ledger, job_id).phase == Phase.SUBMIT_UNKNOWN
    resumed = claimed(ledger, BURST_POOL)
    for purchase_id, nonce, news in (
        ("p-77", "n1", PurchaseNews.KNOWN),
        ("p-77", "n1", PurchaseNews.KNOWN),
        ("p-78", "n1", PurchaseNews.SECOND),
        ("p-77", "n0", PurchaseNews.UNKNOWN),
    ):
        assert ledger.bought(nonce, purchase_id) is news
    job = found(ledger, job_id)
    assert (job.phase, job.purchase_id, job.attempt) == (Phase.PROVIDER_QUEUED, "p-77", resumed.attempt)


def test_what_was_not_sent_is_queued_here_again_and_that_name_buys_nothing_more(ledger: Ledger, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    assert claim is not None
    outcome, permits = ledger.unbuy(job_id, claim.attempt, "n1", PurchaseEnding.NOT_SENT)
    assert outcome is FailOutcome.RETRY
    assert {permit.pool for permit in permits} <= {POOL}
    assert ledger.unbuy(job_id, claim.attempt, "n1", PurchaseEnding.NOT_SENT)[0] is FailOutcome.ALREADY
    assert ledger.buy(job_id, "b", "n1", PURCHASE, price=0) is None  # a call that was given up and runs late
    job = found(ledger, job_id)
    assert (job.state, job.phase, job.purchase, job.attempts_used) == (State.QUEUED, None, None, 0)
    here = claimed(ledger)
    assert ledger.commit(job_id, here.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED


def test_a_bought_job_that_is_cancelled_is_looked_at_once_more(ledger: Ledger, redis: Redis, job_id: str) -> None:
    claim = ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    assert claim is not None
    assert ledger.cancel("acme", job_id) == "cancelling"
    outage(redis, 3600)
    ledger.reap()
    pass_time(redis, 3600)
    ledger.reap()
    assert found(ledger, job_id).state is State.RUNNING
    resumed = claimed(ledger, BURST_POOL)
    assert ledger.heartbeat(job_id, resumed.attempt) is Verdict.CANCEL
    assert ledger.unbuy(job_id, resumed.attempt, "n1", PurchaseEnding.NOT_SENT)[0] is FailOutcome.CANCELLED


def test_buying_costs_no_share_of_the_gpus(ledger: Ledger) -> None:
    (bought,) = admit(ledger, new_job("buyer", predicted_s=1000.0))
    claim = ledger.buy(bought, "b", "n1", PURCHASE, price=0)
    assert claim is not None
    ledger.commit(bought, claim.attempt, ARTIFACTS, gpu_s=0)
    mine, _other = admit(ledger, new_job("buyer"), new_job("other"))
    assert claimed(ledger).job.id == mine  # of two that have used nothing the first by name


def test_nor_does_the_intake_before_it(ledger: Ledger, redis: Redis) -> None:
    (job_id,) = admit(ledger, new_job(intake=True))
    ledger.intake_done(job_id, claimed(ledger, INTAKE_POOL).attempt, {})
    claim = ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    assert claim is not None
    ledger.commit(job_id, claim.attempt, ARTIFACTS, gpu_s=0)
    assert float(redis.hget(f"wf:share:{POOL}", "acme") or 0) == 0
    assert audit(ledger) == {}


def test_only_what_waits_for_a_gpu_can_be_bought(ledger: Ledger) -> None:
    paused, waiting, running, delayed = admit(
        ledger, new_job(held_for=(HoldReason.PAUSED,)), new_job(intake=True), new_job(priority=9), new_job(priority=8)
    )
    assert claimed(ledger).job.id == running
    ledger.fail(delayed, claimed(ledger).attempt, BROKE)
    for job_id in (paused, waiting, running, delayed, "nobody's"):
        assert ledger.buy(job_id, "b", "n1", PURCHASE, price=0) is None


@pytest.mark.parametrize("harm", ["nowhere", "in its own queue as well"])
def test_the_audit_puts_a_bought_job_back_where_it_is_resumed(
    harm: str, ledger: Ledger, redis: Redis, job_id: str
) -> None:
    ledger.buy(job_id, "b", "n1", PURCHASE, price=0)
    if harm == "nowhere":
        redis.zrem(f"wf:leases:{BURST_POOL}", job_id)
    else:
        redis.zadd(f"wf:queue:{POOL}:acme", {job_id: 1})
    assert ledger.claim(POOL, "w1") is None
    audit(ledger)
    assert audit(ledger) == {}
    assert (ledger.claim(BURST_POOL, "b2") is not None) == (harm == "nowhere")


def bought(ledger: Ledger, job_id: str, nonce: str = "n1", price: int = 40, **more: object) -> Claim:
    claim = ledger.buy(job_id, "b", nonce, PURCHASE, price=price, **more)  # type: ignore[arg-type]
    assert isinstance(claim, Claim)
    return claim


def spend(ledger: Ledger, *scopes: str) -> list[tuple[int, int]]:
    """(held, spent) of this day; the month says the same."""
    purchase = ledger.purchases(0, 2**50)[0]
    day = ledger._redis.hget(f"wf:purchase:{purchase.nonce}", "day")
    assert isinstance(day, str)
    for scope in scopes:
        assert ledger.external_spend(scope, day) == ledger.external_spend(scope, day[:7])
    return [ledger.external_spend(scope, day) for scope in scopes]


SCOPES = ("tenant acme", "provider kie", "farm", "overhead")


def test_a_price_is_held_until_what_it_cost_is_spent_once(ledger: Ledger, job_id: str) -> None:
    bought(ledger, job_id)
    assert spend(ledger, *SCOPES) == [(40, 0), (40, 0), (40, 0), (0, 0)]
    (purchase,) = ledger.open_purchases()
    assert (purchase.job, purchase.intent, purchase.price, purchase.current) == (job_id, PURCHASE, 40, True)
    assert ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 31)
    assert not ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 31)
    assert spend(ledger, *SCOPES) == [(0, 31), (0, 31), (0, 31), (0, 0)]
    assert ledger.open_purchases() == []


def test_what_an_operator_settled_and_its_job_then_left_the_overhead_account_pays(ledger: Ledger, job_id: str) -> None:
    claim = bought(ledger, job_id)
    assert ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 30, who="ada", why="its bill")
    assert ledger.unbuy(job_id, claim.attempt, "n1", None)[0] is FailOutcome.RETRY
    assert spend(ledger, "tenant acme", "overhead", "farm") == [(0, 0), (0, 30), (0, 30)]
    assert audit(ledger) == {}


def test_what_the_tenant_did_not_get_the_overhead_account_pays(ledger: Ledger, job_id: str) -> None:
    bought(ledger, job_id)
    ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 31, Payer.OVERHEAD)
    assert spend(ledger, *SCOPES) == [(0, 0), (0, 31), (0, 31), (0, 31)]


@pytest.mark.parametrize("scope", SCOPES[:3])
@pytest.mark.parametrize("period", ["day", "month"])
def test_no_cap_is_exceeded_by_what_is_held_or_spent(scope: str, period: str, ledger: Ledger) -> None:
    one, two, three = admit(ledger, *(new_job() for _ in range(3)))
    caps = [Cap("farm", "day", 1000), Cap(scope, period, 100)]
    bought(ledger, one, "n1", 60, caps=caps)
    over = ledger.buy(two, "b", "n2", PURCHASE, price=60, caps=caps)
    assert isinstance(over, OverCap)
    assert (over.cap, over.left) == (caps[1], 40)
    assert found(ledger, two).state is State.QUEUED
    ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 50)
    assert isinstance(ledger.buy(two, "b", "n2", PURCHASE, price=51, caps=caps), OverCap)
    bought(ledger, two, "n2", 50, caps=caps)
    assert isinstance(ledger.buy(three, "b", "n3", PURCHASE, price=1, caps=caps), OverCap)


def test_a_purchase_of_which_nothing_is_known_keeps_its_hold_while_its_job_renders_here(
    ledger: Ledger, job_id: str
) -> None:
    claim = bought(ledger, job_id)
    assert ledger.unbuy(job_id, claim.attempt, "n1", None)[0] is FailOutcome.RETRY
    assert spend(ledger, "tenant acme") == [(40, 0)]
    (open_one,) = ledger.open_purchases()
    assert not open_one.current
    here = claimed(ledger)
    # it arrived after all, too late to be used
    assert ledger.bought("n1", "p-77") is PurchaseNews.LEFT
    assert ledger.commit(job_id, here.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
    assert ledger.close_purchase("n1", PurchaseEnding.DELIVERED, 40, Payer.OVERHEAD)
    assert spend(ledger, "tenant acme", "overhead") == [(0, 0), (0, 40)]


def test_a_late_purchase_is_used_while_its_job_still_waits(ledger: Ledger, job_id: str) -> None:
    claim = bought(ledger, job_id)
    ledger.unbuy(job_id, claim.attempt, "n1", None)
    assert ledger.bought("n1", "p-77") is PurchaseNews.BACK
    assert ledger.claim(POOL, "w1") is None
    assert audit(ledger) == {}
    resumed = claimed(ledger, BURST_POOL)
    assert (resumed.job.purchase, resumed.job.purchase_id) == (PURCHASE, "p-77")
    assert ledger.commit(job_id, resumed.attempt, ARTIFACTS, gpu_s=0) is CommitOutcome.COMMITTED


def test_what_was_taken_for_refused_and_arrived_is_held_again(ledger: Ledger, job_id: str) -> None:
    claim = bought(ledger, job_id)
    ledger.unbuy(job_id, claim.attempt, "n1", PurchaseEnding.NOT_SENT)
    assert spend(ledger, "farm") == [(0, 0)]
    claimed(ledger)
    assert ledger.bought("n1", "p-77") is PurchaseNews.LEFT
    assert spend(ledger, "farm") == [(40, 0)]
    (again,) = ledger.open_purchases()
    assert (again.id, again.state, again.cost) == ("p-77", PurchaseState.OPEN, None)


def test_a_callback_is_noted_and_decides_nothing(ledger: Ledger, job_id: str) -> None:
    bought(ledger, job_id)
    before = found(ledger, job_id)
    assert not ledger.purchase_told(job_id, "n0", "forged")
    assert not ledger.purchase_told("another", "n1", "forged")
    assert ledger.purchase_told(job_id, "n1", "p-77")
    nonces, after = ledger.told_purchases("0", 10)
    assert nonces == ["n1"]
    assert ledger.told_purchases(after, 10) == ([], after)
    purchase = ledger.purchase("n1")
    assert purchase is not None
    assert (purchase.told, purchase.id, purchase.state) == ("p-77", None, PurchaseState.OPEN)
    assert (found(ledger, job_id).phase, found(ledger, job_id).purchase_id) == (before.phase, None)


def test_days_and_months_are_those_of_the_calendar(ledger: Ledger) -> None:
    """The script's calendar against Python's, over leap years and centuries."""
    settings = tuple(lua_settings(ledger._settings).items())
    text = source("lib/purchase", "wf", settings, "local NOW = 0")
    script = ledger._redis.register_script(
        text + "\nlocal days = {}\nfor n, ms in ipairs(ARGV) do local p = purchase_periods(tonumber(ms))"
        "\n days[n] = p.day .. ' ' .. p.month end\nreturn days"
    )
    moments = [datetime(1999, 12, 28, 23, 59, 59, tzinfo=UTC) + timedelta(days=73 * n) for n in range(700)]
    moments += [datetime(2028, 2, 28, 12, tzinfo=UTC) + timedelta(days=n) for n in range(4)]
    told = script(args=[int(at.timestamp() * 1000) for at in moments])
    assert told == [f"{at:%Y-%m-%d %Y-%m}" for at in moments]


def test_what_purchases_hold_is_mended_wherever_it_is_wrong(ledger: Ledger, redis: Redis) -> None:
    """Of a tenant, a provider, the farm and an account, in a day and a month; also where nothing is held any more, and
    where an open purchase is not in the list of open ones."""
    for n in range(3):
        assert ledger.buy(admit(ledger, new_job())[0], "burst", f"n{n}", PURCHASE, price=100) is not None
    ledger.close_purchase("n2", PurchaseEnding.DELIVERED, 90)
    assert audit(ledger) == {}
    now = datetime.now(UTC)
    scopes = [(scope, now.strftime(form)) for scope in ("tenant acme", "provider kie", "farm")
              for form in ("%Y-%m-%d", "%Y-%m")]  # fmt: skip
    for n, (scope, period) in enumerate(scopes):
        redis.hincrby(f"wf:spend:{scope}:{period}", "held", n - 2 or 7)
    redis.hset("wf:spend:provider wiro:2020-01", "held", 5)
    redis.hincrby("wf:account:kie:main", "held", -1)
    redis.zrem("wf:purchases-open", "n0")
    redis.zadd("wf:purchases-open", {"n2": 1})
    assert audit(ledger) == {"purchases_open": 2, "held_external": 8}
    assert audit(ledger) == {}
    assert {ledger.external_spend(*where) for where in scopes} == {(200, 90)}
    assert ledger.external_spend("provider wiro", "2020-01") == (0, 0)
    assert ledger.accounts_there([("kie", "main")])[0]["held"] == 200
    redis.delete(f"wf:spend:farm:{scopes[0][1]}")
    assert audit(ledger) == {"held_external": 1}


def test_an_audit_is_not_led_astray_by_what_is_bought_meanwhile(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the open purchases and its comparison another is begun, several times."""
    ids, look = iter(admit(ledger, *(new_job() for _ in range(9)))), ledger.open_purchases

    def meanwhile() -> list[Purchase]:
        found = look()
        if (job_id := next(ids, None)) is not None:
            assert ledger.buy(job_id, "burst", job_id, PURCHASE, price=100) is not None
        return found

    monkeypatch.setattr(ledger, "open_purchases", meanwhile)
    assert audit(ledger) == {}
    assert ledger.external_spend("farm", datetime.now(UTC).strftime("%Y-%m")) == (900, 0)
