"""Workers are counted as they come, change and go: no question about them reads them all, and no count drifts."""

import random
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pytest
from ledger_parts import ARTIFACTS, POOL, admit, commands, new_job, pass_time
from redis import Redis

from farm.jobs.states import Phase
from farm.jobs.worker_status import AT_WORK, WorkerState, WorkerStatus
from farm.ledger import Beat, Ledger, SwitchKind, Verdict
from farm.ledger.outcomes import BeatAnswer, PresenceBeat
from farm.ledger.workforce import mark
from farm.scheduling.memory_fit import Memory
from farm.scheduling.offers import PoolOffer

T = TypeVar("T")
SMALL, BIG = Memory(24_000, 64_000), Memory(140_000, 200_000)
MODEL = "wan-bf16"
#: what is kept of a worker while it is live
KEPT = ("notes", "marks", "offers", "able", "free", "locked")


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
    chance, slots, locked = random.Random(7), {"w0": 1}, set[str]()
    seen(ledger, "w0")
    for _ in range(300):
        worker = f"w{chance.randrange(12)}"
        match chance.randrange(10):
            case 0:
                ledger.worker_gone(worker, POOL)
            case 1:
                pass_time(redis, chance.choice([5, 30]))
            case 2 | 3:
                act = ledger.resume if worker in locked else ledger.pause
                act(SwitchKind.WORKER, worker, who="ops", why="its fan")
                locked ^= {worker}
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
        takes = [one for one in live if one.worker not in locked]
        numbers = ledger.farm_numbers().pools
        assert [(one.slots, one.workers) for one in numbers] == [
            (sum(slots[one.worker] for one in takes), Counter(one.status.state for one in live))
        ]
    for worker in slots:
        ledger.worker_gone(worker, POOL)
    assert [redis.hgetall(f"wf:{key}:{POOL}") for key in KEPT] == [{}] * len(KEPT)
    assert redis.hget(f"wf:tally:{POOL}", "locked") in (None, "0")


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


def renewed(ledger: Ledger, worker: str, status: WorkerStatus, slots: int = 1) -> bool:
    return ledger.beat((), PresenceBeat(worker, POOL, mark(status, slots), 60)).known


def test_a_heartbeat_renews_the_presence_of_a_worker_that_told_the_same(ledger: Ledger, redis: Redis) -> None:
    idle, busy = WorkerStatus(models=(MODEL,)), WorkerStatus(state=WorkerState.BUSY, models=(MODEL,))
    assert not renewed(ledger, "w", idle), "it was never announced"
    assert ledger.workers() == []
    ledger.worker_seen("w", POOL, idle, ttl_s=60)
    pass_time(redis, 45)
    assert renewed(ledger, "w", idle)
    pass_time(redis, 45)
    assert [one.status for one in ledger.workers()] == [idle], "a minute after each"
    for told, slots in ((busy, 1), (idle, 0)):
        assert not renewed(ledger, "w", told, slots), "what the ledger has is not what it told"
    pass_time(redis, 16)
    assert ledger.workers() == [], "nor does that keep it there"
    ledger.offers()
    assert not renewed(ledger, "w", idle), "it was forgotten, and is to be announced"


def test_a_heartbeat_renews_leases_and_presence_and_tells_of_the_last_reap(ledger: Ledger, redis: Redis) -> None:
    told = WorkerStatus(state=WorkerState.BUSY, models=(MODEL,))
    ledger.worker_seen("w", POOL, told, ttl_s=60)
    first, second = admit(ledger, new_job(), new_job())
    held = {claim.job.id: claim.attempt for claim in (ledger.claim(POOL, "w"), ledger.claim(POOL, "w")) if claim}
    ledger.cancel("acme", second)
    presence = PresenceBeat("w", POOL, mark(told, 1), 60)
    beats = [Beat(first, held[first], Phase.DENOISING, 0.5, 3, 6), Beat(second, held[second]), Beat(first, 7)]
    assert ledger.beat(beats, presence) == BeatAnswer((Verdict.GO, Verdict.CANCEL, Verdict.LOST), True, None)
    ledger.reap()
    _, calls = commands(redis, lambda: ledger.beat(beats[:1], presence))
    assert ledger.beat((), presence).reaped == redis.get("wf:reaped")
    assert calls <= 10, "a report, a lease and a presence: one script"


@pytest.mark.parametrize("progress", [0.0, 0.00004, 1 / 3, 1.0])
def test_progress_is_told_alike_of_a_job_with_and_without_a_label(ledger: Ledger, progress: float) -> None:
    """The second way, which most jobs take, puts the text of the event together by itself."""
    jobs = admit(ledger, new_job(label='two "words"'), new_job())
    for _ in jobs:
        claim = ledger.claim(POOL, "w")
        assert claim is not None
        ledger.heartbeat(claim.job.id, claim.attempt, phase=Phase.DENOISING, progress=progress, step=3, steps=40)
    told = {event.job: dict(event.data) for event in ledger.events("acme", after="0")}
    labelled, plain = (told[job] for job in jobs)
    assert labelled.pop("label") == 'two "words"'
    assert labelled.pop("job") != plain.pop("job")
    assert labelled == plain
    assert plain == {
        "state": "running",
        "attempt": 1,
        "phase": "denoising",
        "progress": round(progress, 4),
        "step": 3,
        "steps": 40,
    }


def test_the_phase_of_a_worker_is_that_of_its_job(ledger: Ledger) -> None:
    """No worker announces itself for a new phase."""
    (job,) = admit(ledger, new_job())
    claim = ledger.claim(POOL, "w")
    assert claim is not None
    ledger.worker_seen("w", POOL, WorkerStatus(state=WorkerState.BUSY, job=job), ttl_s=60)
    ledger.worker_seen("idle", POOL, WorkerStatus(), ttl_s=60)
    ledger.worker_seen("late", POOL, WorkerStatus(job="a job that is gone"), ttl_s=60)
    for phase in (Phase.LOADING, Phase.DENOISING):
        ledger.heartbeat(job, claim.attempt, phase=phase, progress=0.1)
        assert {one.worker: one.status.phase for one in ledger.workers()} == {"w": phase, "idle": None, "late": None}


def test_what_live_workers_offer_is_not_forgotten_while_they_tell_nothing_new(ledger: Ledger, redis: Redis) -> None:
    told = WorkerStatus(models=(MODEL,))

    def later(seconds: float) -> None:
        pass_time(redis, seconds)
        redis.zincrby(f"wf:offered:{POOL}", -1000 * seconds, f"|{MODEL}")

    ledger.worker_seen("w", POOL, told, ttl_s=60)
    for _ in range(13):
        later(50)
        assert renewed(ledger, "w", told)
        ledger.reap()
    assert [one.workers for one in ledger.offers()] == [1]
    later(590)
    ledger.reap()
    assert [one.workers for one in ledger.offers()] == [0], "gone, and remembered for elsewhere_s"
    later(20)
    ledger.reap()
    assert ledger.offers() == []


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
    # in pieces of some hundreds: that is what keeps a call among ten thousand short. How many workers a step of ZSCAN
    # tells follows from the size of the server's table, which may be twice what is needed
    assert 1_202 / calls > 20
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
