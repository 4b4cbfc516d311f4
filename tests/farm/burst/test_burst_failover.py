"""The ledger's Redis fails over while jobs are bought. The law: no order is sent before its intent is stored where a
failover finds it, so nothing is paid for twice. `make soak` runs these."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

import preloaded
import pytest
from burst_parts import POOL, PRICE, TENANT, BuyingFarm, buying, mishap, new_job
from settling_operator import Operator, operator_key
from watched_redis import Admissions, WatchedRedis, watched_redis

from api.app import create_app
from farm.config import CONFIG_ENV, S3Settings, Settings
from farm.embedded.settings_file import render
from farm.jobs.errors import Unavailable
from farm.jobs.job import Artifacts
from farm.jobs.purchase import Payer, PurchaseEnding
from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.storage.store import Store
from tests.api.gateway_thread import served
from tests.conftest import wait_until
from tools.provider_simulator.simulator import Simulator

pytestmark = [pytest.mark.xdist_group("burst_failover"), pytest.mark.soak, pytest.mark.timeout(900)]

FAILOVERS = 8
#: longer than a failover; how long an order is looked for of which nobody knows whether it was sent
LEASE_S, UNKNOWN_S = 15.0, 20.0
#: the caps of the settings hold fifty orders, and a run makes more on a machine that is slow to fail over
UNCAPPED = {f"{whose}_{period}_usd": 10_000.0 for whose in ("tenant", "farm") for period in ("day", "month")}
#: orders that were taken and not answered, above all
FAULTS = [
    mishap("create", "hang", seconds=1.0, chance=0.2),
    mishap("create", "drop", chance=0.1),
    mishap("status", "drop", chance=0.05),
    mishap("callback", "late", seconds=1.0, chance=0.2),
    mishap("file", "slow", seconds=1.0, chance=0.1),
]

OURS = Artifacts("v.mp4", "p.jpg", "r.json", 1234, "ab" * 32, 832, 480, 81, 16.0, 5.06)


class Buyers:
    """Processes that buy."""

    def __init__(self, config: Path) -> None:
        self._config, self._running = config, dict[int, subprocess.Popen[bytes]]()

    def start(self, number: int) -> None:
        with self._config.with_name(f"burst-{number}.log").open("ab") as log:
            self._running[number] = preloaded.Popen(
                [sys.executable, "-m", "farm.cli", "burst"],
                env={**os.environ, CONFIG_ENV: str(self._config)},
                stdout=log,
                stderr=log,
            )

    def kill(self, number: int) -> None:
        process = self._running.pop(number)
        assert process.poll() is None, "it had ended by itself"
        process.send_signal(signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for number in tuple(self._running):
            self.kill(number)


@contextmanager
def reaping(ledger: Ledger) -> Iterator[None]:
    """As the io worker does."""
    over = threading.Event()

    def reap() -> None:
        while not over.wait(0.2):
            with suppress(Unavailable):
                ledger.reap()

    reaper = threading.Thread(target=reap, daemon=True)
    reaper.start()
    try:
        yield
    finally:
        over.set()
        reaper.join(30)


@contextmanager
def buying_on(
    redis: WatchedRedis, s3: S3Settings, kie: Simulator, folder: Path, **more: object
) -> Iterator[tuple[BuyingFarm, Buyers]]:
    """A farm that buys on such a Redis; only the hands of the first are used."""
    settings = Settings(state_dir=folder / "state", redis=redis.settings(prefix="watched", **more), s3=s3)
    Store(s3).ensure_bucket()
    with ExitStack() as stack:
        url = stack.enter_context(served(create_app(settings)))
        settings = buying(settings, {"kie": kie}, public_url=url, unknown_after_s=UNKNOWN_S, **UNCAPPED)
        settings = settings.model_copy(update={"lease": settings.lease.model_copy(update={"seconds": LEASE_S})})
        here, config = BuyingFarm(settings), folder / "farm.toml"
        config.write_text(render(settings))
        stack.enter_context(reaping(here.ledger))
        buyers = Buyers(config)
        stack.callback(buyers.close)
        yield here, buyers


def operator_of(here: BuyingFarm, kie: Simulator) -> Operator:
    """Settles what nobody can find: of a buyer that died before it had sent its order, and of an order whose answer was
    lost and whose only callback met a farm without a primary."""

    def page() -> dict[str, str]:
        return {one["callback_url"].rpartition("/")[2]: one["id"] for one in kie.ledger()["charged"]}

    url = here.settings.gateway.public_url
    assert url is not None
    return Operator(url, operator_key(here.settings), page)


def end_all(here: BuyingFarm, operator: Operator, jobs: list[str]) -> None:
    """Until every job is over, and every purchase. A job that left an order of which nobody knows is rendered here
    before the operator says what became of it: then the farm pays."""

    def over() -> bool:
        with suppress(Unavailable):
            while (claim := here.ledger.claim(POOL, "a GPU of ours")) is not None:
                here.ledger.commit(claim.job.id, claim.attempt, OURS, gpu_s=1.0)
            return all(here.job(job_id).state in TERMINAL for job_id in jobs)
        return False

    def may_be_bought() -> bool:
        return any(here.job(job_id).state is State.RUNNING or verdict(here, job_id) != "stays" for job_id in jobs)

    with noted(lambda: verdicts(here, jobs)):
        wait_until(lambda: not may_be_bought(), 240, "what is bought, and a decision about all else")
    wait_until(over, 240, "every job to end")
    with operator.at_work(), noted(here.ledger.open_purchases):
        wait_until(lambda: here.ledger.open_purchases() == [], 240, "every purchase to be settled")


def verdict(here: BuyingFarm, job_id: str) -> str:
    """What is decided of a job that may be bought; "stays" of any other."""
    if here.job(job_id).state is not State.QUEUED:
        return "stays"
    return str((here.ledger.decision(job_id) or {}).get("verdict"))


def verdicts(here: BuyingFarm, jobs: list[str]) -> Counter[str]:
    """States of jobs; of those that are queued, what is decided and why."""
    told = Counter[str]()
    for job_id in jobs:
        state = here.job(job_id).state
        decision = here.ledger.decision(job_id) if state is State.QUEUED else None
        told[f"{state} {decision['verdict']}: {decision['why']}" if decision else state] += 1
    return told


@contextmanager
def noted(state: Callable[[], object]) -> Iterator[None]:
    """A wait that was in vain says how it stands."""
    try:
        yield
    except BaseException as error:
        with suppress(Unavailable):
            error.add_note(f"it is {state()}")
        raise


def fail_over(redis: WatchedRedis, dice: random.Random) -> None:
    """The primary dies, or hangs for a while; returns when the old one follows the new one."""
    if dice.random() < 0.5:
        redis.restart(redis.kill_primary())
        return
    frozen = redis.freeze_primary()
    time.sleep(dice.uniform(0.0, 2.0))
    redis.thaw(frozen)
    wait_until(lambda: redis.follows(frozen), what="the old primary to follow the new one")


def charges(kie: Simulator) -> Counter[str]:
    """Orders that the provider charged, by prompt."""
    return Counter(one["prompt"] for one in kie.ledger()["charged"] if one["units"])


def test_nothing_is_paid_twice_however_often_the_primary_dies(
    tmp_path: Path, s3_server: S3Settings, kie: Simulator, soak_seed: int
) -> None:
    dice, numbers = random.Random(soak_seed), count()
    kie.knobs.render_s = 1.0
    kie.faults.set(FAULTS)
    with (
        watched_redis(tmp_path / "redis") as redis,
        buying_on(redis, s3_server, kie, tmp_path) as (here, buyers),
        operator_of(here, kie) as operator,
    ):
        buyers.start(0)
        buyers.start(1)
        admissions = Admissions(here.ledger, lambda: new_job(f"shot {next(numbers)}"), pause_s=0.5)
        admissions.start()
        with operator.at_work():
            for _ in range(FAILOVERS):
                admissions.wait_more(2)
                ordered = kie.ledger()["submits"]
                with noted(lambda: verdicts(here, admissions.acknowledged)):
                    wait_until(lambda before=ordered: kie.ledger()["submits"] > before, what="an order")
                time.sleep(dice.uniform(0.0, 1.5))
                if dice.random() < 0.3:
                    buyer = dice.choice((0, 1))
                    buyers.kill(buyer)
                    buyers.start(buyer)
                fail_over(redis, dice)
            jobs = admissions.end()
        assert admissions.refused
        settled = operator.arrived + operator.never_arrived
        end_all(here, operator, jobs)
        assert {here.job(job_id).state for job_id in jobs} == {State.SUCCEEDED}
        # no order twice, and the farm settled what the provider charged
        paid = charges(kie)
        assert set(paid.values()) == {1}
        assert len(paid) > len(jobs) / 2, "it was no idle run"
        charged = {one["id"]: round(one["units"] * 5000) for one in kie.ledger()["charged"]}
        purchases = here.ledger.purchases(0, 1 << 52)
        assert {one.id: one.cost for one in purchases if one.cost} == charged
        assert here.spent() == (0, sum(charged.values()))
        # what was rendered here as well is paid by the farm itself
        for payer, account in ((Payer.TENANT, f"tenant {TENANT}"), (Payer.OVERHEAD, "overhead")):
            assert here.spent(account) == (0, sum(one.cost for one in purchases if one.payer is payer))
        delivered = Counter(one.job for one in purchases if one.ending is PurchaseEnding.DELIVERED)
        assert set(delivered.values()) == {1}
        print(f"{len(jobs)} jobs, {len(paid)} charged; by the operator {settled} while primaries died, "
              f"{operator.arrived} arrived and {operator.never_arrived} not; "
              f"{here.spent('overhead')[1] / PRICE:g} paid by the farm")  # fmt: skip


@pytest.mark.parametrize(("replicas", "paid"), [(1, 1), (0, 2)])
def test_an_order_that_a_failover_forgets_was_never_sent_where_a_replica_is_asked_for(
    tmp_path: Path, s3_server: S3Settings, kie: Simulator, replicas: int, paid: int
) -> None:
    """The replica has the job and not the purchase. Without being asked for, the purchase is made, forgotten and made
    again: what docs/operations.md says of it."""
    kie.knobs.render_s = 600.0
    with (
        watched_redis(tmp_path / "redis") as redis,
        buying_on(redis, s3_server, kie, tmp_path, waitaof_replicas=replicas) as (here, buyers),
    ):
        (job_id,) = here.admit(new_job("the shot"))
        replica, primary = redis.replica, redis.primary
        assert primary is not None
        wait_until(lambda: redis.has_all(replica), what="the replica to have the job")
        redis.end(replica)
        buyers.start(0)
        # it stands on the primary in either case
        wait_until(here.ledger.open_purchases, what="a purchase")
        if not replicas:
            wait_until(lambda: kie.ledger()["accepted"] == 1, what="an order")
        assert kie.ledger()["submits"] == 1 - replicas
        redis.end(primary)
        redis.start_as_replica(replica, primary)
        wait_until(lambda: redis.primary == replica, what="the replica to take over")
        redis.restart(primary)
        wait_until(lambda: kie.ledger()["accepted"] == paid, what="the order to be made on the new primary")
        wait_until(lambda: here.purchase(job_id).id, what="its id")
        assert len(here.ledger.purchases(0, 1 << 52)) == 1
        assert kie.ledger()["accepted"] == paid
