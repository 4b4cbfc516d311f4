"""Credit, statement, request rate, outbox: what a tenant pays and is told."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_parts import ARTIFACTS, REFUSED, admit, claimed, new_job, pass_time
from redis import Redis

from farm.jobs.errors import InvalidRequest, PaymentRequired, TooMany
from farm.jobs.states import State
from farm.ledger import Account, Ledger, RateVerdict, StatementKind


class TestCredit:
    def test_without_an_account_nothing_is_limited(self, ledger: Ledger) -> None:
        admit(ledger, new_job(hold=None), new_job(hold=10**15))
        assert ledger.credit("acme") is None
        assert ledger.statement("acme") == []

    def test_held_at_submit_settled_on_success(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000, "welcome")
        [job_id] = admit(ledger, new_job(hold=300))
        assert ledger.credit("acme") == Account(1000, 300)
        claimed(ledger)
        ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1)
        assert ledger.credit("acme") == Account(700, 0)
        assert ledger.find(job_id).charged == 300  # type: ignore[union-attr]
        lines = [(line.kind, line.amount, line.job, line.balance, line.held) for line in ledger.statement("acme")]
        assert lines == [
            (StatementKind.TOPUP, 1000, None, 1000, 0),
            (StatementKind.HOLD, 300, job_id, 1000, 300),
            (StatementKind.SETTLE, 300, job_id, 700, 0),
        ]

    def test_released_on_failure_and_on_cancel(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000)
        failed, cancelled = admit(ledger, new_job(hold=300, priority=9), new_job(hold=200))
        claimed(ledger)
        ledger.fail(failed, 1, REFUSED)
        ledger.cancel("acme", cancelled)
        assert ledger.credit("acme") == Account(1000, 0)
        assert [job.charged for job in ledger.find_many([failed, cancelled]) if job] == [0, 0]

    def test_a_batch_that_does_not_fit_is_refused_whole(self, ledger: Ledger) -> None:
        ledger.topup("acme", 500)
        with pytest.raises(PaymentRequired, match=r"0\.0006 credits .* 0\.0005 .*; wait for jobs to end, or top up"):
            ledger.admit([new_job(hold=300), new_job(hold=300)])
        assert ledger.credit("acme") == Account(500, 0)
        assert sum(ledger.counts("acme").values()) == 0

    def test_a_price_that_is_not_known_is_a_refusal(self, ledger: Ledger) -> None:
        ledger.topup("acme", 500)
        with pytest.raises(PaymentRequired, match="price"):
            ledger.admit([new_job(hold=0), new_job(hold=None)])

    def test_a_job_from_before_the_account_costs_nothing(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(hold=300))
        ledger.topup("acme", 100)
        claimed(ledger)
        ledger.commit(job_id, 1, ARTIFACTS, gpu_s=1)
        assert ledger.credit("acme") == Account(100, 0)

    def test_a_payment_is_booked_once(self, ledger: Ledger) -> None:
        for _ in range(2):
            ledger.topup("acme", 500, "invoice 7", reference="payment-7")
        assert ledger.credit("acme") == Account(500, 0)
        assert len(ledger.statement("acme")) == 1

    def test_a_correction_leaves_what_is_held(self, ledger: Ledger) -> None:
        ledger.topup("acme", 500)
        admit(ledger, new_job(hold=300))
        with pytest.raises(InvalidRequest, match=r"0\.0002 of 0\.0005 credits"):
            ledger.topup("acme", -201)
        assert ledger.topup("acme", -200) == Account(300, 300)

    def test_the_statement_is_read_in_pieces(self, ledger: Ledger) -> None:
        for amount in range(1, 6):
            ledger.topup("acme", amount, f"n{amount}")
        first = ledger.statement("acme", count=3)
        rest = ledger.statement("acme", after=first[-1].id)
        assert [line.note for line in first + rest] == ["n1", "n2", "n3", "n4", "n5"]

    def test_fifty_at_once_never_hold_more_than_there_is(self, ledger: Ledger) -> None:
        ledger.topup("acme", 1000)

        def submit(_: int) -> bool:
            try:
                ledger.admit([new_job(hold=100), new_job(hold=50)])
            except PaymentRequired:
                return False
            return True

        with ThreadPoolExecutor(16) as threads:
            accepted = sum(threads.map(submit, range(50)))
        assert accepted == 6
        assert ledger.credit("acme") == Account(1000, 900)

    def test_fifty_at_once_never_open_more_than_allowed(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", "max_open", 7)

        def submit(_: int) -> bool:
            try:
                ledger.admit([new_job()])
            except TooMany:
                return False
            return True

        with ThreadPoolExecutor(16) as threads:
            assert sum(threads.map(submit, range(50))) == 7
        assert ledger.counts("acme")[State.QUEUED] == 7


class TestRate:
    def test_no_limit_unless_set(self, ledger: Ledger) -> None:
        assert ledger.rate("acme") == RateVerdict(allowed=True)

    def test_a_burst_then_one_at_a_time(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", mapping={"rate_per_minute": 6, "rate_burst": 3})
        verdicts = [ledger.rate("acme") for _ in range(4)]
        assert [(v.allowed, v.limit, v.remaining) for v in verdicts] == [
            *((True, 3, 2), (True, 3, 1), (True, 3, 0), (False, 3, 0))
        ]
        assert 9 < verdicts[3].retry_after_s <= 10
        assert 29 < verdicts[3].reset_s <= 30
        pass_time(redis, 10)
        assert [ledger.rate("acme").allowed for _ in range(2)] == [True, False]

    def test_the_burst_is_a_minutes_worth_unless_set(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", "rate_per_minute", 90)
        assert [ledger.rate("acme").allowed for _ in range(91)] == [True] * 90 + [False]

    def test_tenants_do_not_share_it(self, ledger: Ledger, redis: Redis) -> None:
        for tenant in ("acme", "other"):
            redis.hset(f"wf:tenant:{tenant}", mapping={"rate_per_minute": 1})
        assert ledger.rate("acme").allowed
        assert not ledger.rate("acme").allowed
        assert ledger.rate("other").allowed

    def test_threads_do_not_get_more(self, ledger: Ledger, redis: Redis) -> None:
        redis.hset("wf:tenant:acme", mapping={"rate_per_minute": 1, "rate_burst": 20})
        with ThreadPoolExecutor(16) as threads:
            allowed = sum(verdict.allowed for verdict in threads.map(lambda _: ledger.rate("acme"), range(60)))
        assert allowed == 20


class TestOutbox:
    def test_only_for_whom_it_concerns(self, ledger: Ledger) -> None:
        hooked = new_job(webhook_url="https://example.org/hook")
        for job_id in admit(ledger, hooked, new_job(), new_job(dialect_data={"callback": "https://example.org/cb"})):
            ledger.cancel("acme", job_id)
        entries = ledger.outbox_read("c1")
        assert [(e.job, e.tenant, e.state) for e in entries] == [(hooked.id, "acme", State.CANCELLED)]

    def test_read_until_acknowledged(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(webhook_url="https://example.org/hook"))
        assert ledger.outbox_read("c1") == []
        ledger.cancel("acme", job_id)
        [entry] = ledger.outbox_read("c1")
        assert ledger.outbox_read("c1") == []  # a consumer's own entries stay with it
        assert ledger.outbox_read("c2", stale_ms=0) == [entry]  # until it seems to be gone
        assert ledger.outbox_size() == 1
        ledger.outbox_ack([entry.id])
        assert ledger.outbox_read("c3", stale_ms=0) == []
        assert ledger.outbox_size() == 0

    def test_blocking_ends_with_the_entry(self, ledger: Ledger) -> None:
        [job_id] = admit(ledger, new_job(webhook_url="https://example.org/hook"))
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(ledger.outbox_read, "c1", block_ms=4000)
            ledger.cancel("acme", job_id)
            assert [entry.job for entry in waiting.result()] == [job_id]
