"""Workers are counted as they come, change and go: no question about them reads them all, and no count drifts."""

import random
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest
from ledger_parts import ARTIFACTS, POOL, admit, new_job, pass_time
from redis import Redis

from farm.jobs.worker_status import AT_WORK, WorkerState, WorkerStatus
from farm.ledger import Ledger
from farm.scheduling.memory_fit import Memory
from farm.scheduling.offers import PoolOffer

T = TypeVar("T")
SMALL, BIG = Memory(24_000, 64_000), Memory(140_000, 200_000)
MODEL = "wan-bf16"


def seen(
    ledger: Ledger,
    worker: str,
    state: WorkerState = WorkerState.IDLE,
    memory: Memory | None = None,
    models: tuple[str, ...] = (MODEL,),
    *,
    leaves: bool = False,
    slots: int = 1,
) -> None:
    told = memory and {"device_bytes": memory.device_mb * 1e6, "host_bytes": memory.host_mb * 1e6, "fp8": memory.fp8}
    status = WorkerStatus(state=state, models=models, memory=told, leaves=leaves)
    ledger.worker_seen(worker, POOL, status, ttl_s=60, slots=slots)


def test_the_counts_are_what_a_look_at_every_worker_finds(ledger: Ledger, redis: Redis) -> None:
    chance, slots = random.Random(7), dict[str, int]()
    for _ in range(300):
        worker = f"w{chance.randrange(12)}"
        match chance.randrange(8):
            case 0:
                ledger.worker_gone(worker, POOL)
            case 1:
                pass_time(redis, chance.choice([5, 30]))
            case _:
                slots[worker] = chance.randrange(4)
                state, memory = chance.choice(list(WorkerState)), chance.choice([None, SMALL, BIG])
                models = chance.choice([(), ("a",), ("a", "b")])
                seen(ledger, worker, state, memory, models, leaves=chance.random() < 0.3, slots=slots[worker])
        live = ledger.workers()
        offered = Counter((one.status.models, Memory.of(one.status.memory)) for one in live)
        assert {(one.models, one.memory): one.workers for one in ledger.offers() if one.workers} == offered
        able = Counter(
            (one.status.models, one.status.state is WorkerState.IDLE)
            for one in live
            if one.status.state in AT_WORK and not one.status.leaves
        )
        for models in ((), ("a",), ("a", "b")):
            same = [one for one in ledger.offers() if one.models == models]
            idle, busy = able[models, True], able[models, False]
            assert (sum(one.idle for one in same), sum(one.able for one in same)) == (idle, idle + busy)
        numbers = ledger.farm_numbers().pools
        assert [(one.slots, one.workers) for one in numbers] == [
            (sum(slots[one.worker] for one in live), Counter(one.status.state for one in live))
        ]
    for worker in slots:
        ledger.worker_gone(worker, POOL)
    assert [redis.hgetall(f"wf:{key}:{POOL}") for key in ("notes", "offers", "able", "free")] == [{}] * 4


def test_an_offer_is_remembered_when_its_workers_are_gone(ledger: Ledger) -> None:
    seen(ledger, "big", memory=BIG)
    seen(ledger, "small", memory=SMALL)
    ledger.worker_gone("big", POOL)
    assert sorted(ledger.offers(), key=lambda one: one.workers) == [
        PoolOffer(POOL, (MODEL,), BIG, 0),
        PoolOffer(POOL, (MODEL,), SMALL, 1, 1, 1),
    ]


@pytest.mark.parametrize(
    ("other", "left"),
    [
        ({}, True),
        ({"memory": BIG}, True),
        ({"models": ()}, True),
        ({"state": WorkerState.BUSY}, False),
        ({"state": WorkerState.QUARANTINED, "slots": 0}, False),
        ({"leaves": True}, False),
        ({"memory": SMALL}, False),
        ({"models": ("wan-other",)}, False),
    ],
)
def test_a_job_is_left_to_an_idle_worker_that_could_take_it(
    ledger: Ledger, other: dict[str, object], left: bool
) -> None:
    """An agent whose render is nearly done prefetches only what nobody idles for."""
    seen(ledger, "me", WorkerState.BUSY, BIG)
    seen(ledger, "other", **other)  # type: ignore[arg-type]
    assert not ledger.may_prefetch(POOL, "me"), "nothing waits"
    admit(ledger, new_job(needs="80000:0"))
    assert ledger.may_prefetch(POOL, "me") is not left
    ledger.worker_gone("other", POOL)
    assert ledger.may_prefetch(POOL, "me")


def test_an_idle_worker_that_vanished_keeps_no_job_from_the_others(ledger: Ledger, redis: Redis) -> None:
    seen(ledger, "other")
    admit(ledger, new_job())
    assert not ledger.may_prefetch(POOL, "me")
    # what it said of itself before its present job
    seen(ledger, "me")
    pass_time(redis, 30)
    seen(ledger, "me")
    pass_time(redis, 31)
    assert ledger.may_prefetch(POOL, "me")


def commands(redis: Redis, call: Callable[[], T]) -> tuple[T, int]:
    """What the call answers, and how many commands Redis carried out for it, those within scripts included."""
    redis.config_resetstat()
    answer = call()
    stats = redis.info("commandstats")
    return answer, sum(
        stats[name]["calls"] for name in stats if name not in ("cmdstat_config|resetstat", "cmdstat_info")
    )


def test_no_call_of_a_worker_or_a_gateway_costs_more_among_many(ledger: Ledger, redis: Redis) -> None:
    """Law 11: counted in commands, so that it says the same on any machine."""

    def costs() -> dict[str, int]:
        told: dict[str, int] = {}

        def count(name: str, call: Callable[[], T]) -> T:
            answer, told[name] = commands(redis, call)
            return answer

        _, [permit] = count("admit", lambda: ledger.admit([new_job(needs="80000:0")]))
        assert count("left to others", lambda: ledger.claim(POOL, "w0", memory=SMALL)) is None
        assert count("may_prefetch", lambda: ledger.may_prefetch(POOL, "w0"))
        claim = count("claim", lambda: ledger.claim(POOL, "w1", memory=BIG, permit=permit.id))
        assert claim is not None
        job_id, attempt = claim.job.id, claim.attempt
        count("heartbeat", lambda: ledger.heartbeat(job_id, attempt))
        count("commit", lambda: ledger.commit(job_id, attempt, ARTIFACTS, gpu_s=1))
        count("worker_seen", lambda: seen(ledger, "w1", WorkerState.BUSY, BIG))
        count("offers", ledger.offers)
        count("permits", lambda: ledger.permits_wanted(POOL))
        count("reap", ledger.reap)
        return told

    def live(count: int) -> None:
        for n in range(count):
            seen(ledger, f"w{n}", WorkerState.BUSY, SMALL if n % 2 == 0 else BIG)

    live(4)
    costs()  # a script's first call loads it
    few = costs()
    live(600)
    # a command more is the server's clock read anew; what reads workers would be hundreds more
    assert {name: (few[name], cost) for name, cost in costs().items() if cost > few[name] + 9} == {}


def test_a_list_of_many_is_read_in_short_calls_and_in_pages(ledger: Ledger, redis: Redis) -> None:
    for n in range(1_203):
        told = WorkerStatus(models=(MODEL,), lane=f"lane-{n % 3}" if n % 3 else None, reason='"lane": "x"')
        ledger.worker_seen(f"w{n:04}", f"pool-{n % 2}", told, ttl_s=60)
    ledger.worker_gone("w0000", "pool-0")
    names = sorted((f"pool-{n % 2}", f"w{n:04}") for n in range(1, 1_203))
    live, calls = commands(redis, ledger.workers)
    assert [(one.pool, one.worker) for one in live] == names
    # in pieces of some hundreds: that is what keeps a call among ten thousand short
    assert 1_202 / calls > 40
    listed = ledger.roll_call()
    assert [(one.worker, one.state, one.lane) for one in listed] == [
        (one.worker, one.status.state, one.status.lane) for one in live
    ]
    asked = [listed[700], listed[3]]
    assert [one.worker for one in ledger.told_by(asked)] == [one.worker for one in asked]
    paged: list[tuple[str, str]] = []
    more = True
    while more:
        after = paged[-1] if paged else None
        page, more = ledger.some_workers(after=after, limit=500)
        paged += [(one.pool, one.worker) for one in page]
    assert paged == names
    assert ledger.is_live("w0001")
    assert not ledger.is_live("w0000")
