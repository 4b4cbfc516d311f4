"""Random moves on a batch with chains, by the real scripts: no child before its parents, every hold closed once, an end
for every job, and nothing for an audit to mend, whatever the order."""

from collections.abc import Callable

from batch_parts import Manifest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledger_parts import ARTIFACTS, BROKE, POOL, REFUSED, audit, pass_time
from redis import Redis

from farm.jobs.batch import ActKind, BatchState
from farm.jobs.job import Job
from farm.jobs.states import OPEN, TERMINAL, HoldReason, State
from farm.ledger import Account, Ledger
from farm.ledger.scripts import CHILDREN_AT_ONCE

JOBS, PRICE, CREDIT = 9, 100, 100_000
MOVES = ("claim", "commit", "fail", "break", "cancel", "pause", "resume", "retry", "priority", "step", "reap", "audit")
ACTS = {"pause": ActKind.PAUSE, "resume": ActKind.RESUME, "retry": ActKind.RETRY, "priority": ActKind.PRIORITY}


class Play:
    """One batch, whose parents stand before or behind their children, and workers who hold claims."""

    def __init__(self, ledger: Ledger, redis: Redis, parents: dict[int, list[int]], orphans_run: bool) -> None:
        self.ledger, self.redis, self.acts = ledger, redis, 0
        redis.flushdb()
        ledger.topup("acme", CREDIT)
        self.batch = Manifest(JOBS, hold=PRICE, parents=parents, orphans_run=orphans_run, max_attempts=2)
        self.batch.admit(ledger)
        self.orphans_run, self.claims, self.free = orphans_run, list[tuple[str, int]](), set[str]()

    def move(self, name: str) -> None:
        match name:
            case "claim":
                self._claim()
            case "commit" | "fail" | "break" if self.claims:
                job_id, attempt = self.claims.pop(0)
                if name == "commit":
                    self.ledger.commit(job_id, attempt, ARTIFACTS, gpu_s=1)
                else:
                    self.ledger.fail(job_id, attempt, REFUSED if name == "fail" else BROKE)
            case "cancel":
                self.ledger.cancel("acme", self.batch.jobs[self.acts % JOBS])
            case "pause" | "resume" | "retry" | "priority":
                self.acts += 1
                self.ledger.begin_act(f"act-{self.acts}", "acme", self.batch.id, ACTS[name], priority=self.acts % 10)
            case "step":
                for act_id in self.ledger.acts_open():
                    self._note_free()
                    self.ledger.step_act(act_id)
            case "reap":
                self.ledger.reap()
            case "audit":
                assert audit(self.ledger) == {}

    def _claim(self) -> None:
        claim = self.ledger.claim(POOL, "w")
        if claim is None:
            return
        self.claims.append((claim.job.id, claim.attempt))
        if claim.job.id in self.free:
            return
        for parent in claim.job.parents:
            assert self._now(parent).state in (TERMINAL if self.orphans_run else {State.SUCCEEDED})

    def _now(self, job_id: str) -> Job:
        """The job, or what took its place."""
        job = self.ledger.find(job_id)
        assert job is not None
        return job if job.retried_as is None else self._now(job.retried_as)

    def _note_free(self) -> None:
        """An orphan that may run already runs, also when its parent is then made anew."""
        if self.orphans_run:
            jobs = [self._now(job_id) for job_id in self.batch.jobs]
            self.free.update(job.id for job in jobs if HoldReason.DEPENDENCY not in job.held_for)

    def end(self) -> None:
        """Everything goes on until nothing is left."""
        self.move("resume")
        for _ in range(10 * JOBS):
            for name in ("step", "claim", "commit", "reap"):
                self.move(name)
            # delays and leases end
            pass_time(self.redis, 60)
            if not self.ledger.acts_open() and not self._open():
                return
        raise AssertionError(f"{self._open()} jobs never end")

    def _open(self) -> int:
        counts = self.ledger.counts("acme")
        return sum(counts[state] for state in OPEN)


def graphs() -> st.SearchStrategy[dict[int, list[int]]]:
    """Each job after some of those that a shuffled order has before it: no circles."""

    def of(order: list[int], draw: Callable[[int], list[int]]) -> dict[int, list[int]]:
        return {job: [order[n % at] for n in draw(at)] for at, job in enumerate(order) if at}

    return st.tuples(
        st.permutations(range(JOBS)), st.lists(st.lists(st.integers(0, 99), max_size=2), min_size=JOBS, max_size=JOBS)
    ).map(lambda made: of(list(made[0]), lambda at: made[1][at]))


# a child that failed is made anew, and its parent was cancelled
@example({1: [0]}, False, ["cancel", "step", "retry", "step"])
# chains of three, of which children are made anew before their parents, and behind them; the same with orphans that run
@example({0: [1], 1: [2]}, False, [*["claim"] * 7, *["fail"] * 7, "retry", "step"])
@example({1: [0], 2: [1]}, False, [*["claim"] * 7, *["fail"] * 7, "retry", "step"])
@example(
    {0: [1], 1: [2]}, True, [*["claim"] * 7, *["fail"] * 7, "reap", *["claim"] * 2, *["fail"] * 2, "retry", "step"]
)
# the first of a chain was cancelled, and the last fails twice
@example({2: [1], 1: [0]}, False, ["cancel", "retry", "step", "retry", "step"])
# one parent is done, the other failed
@example({1: [0, 2]}, False, ["claim", "claim", "commit", "fail", "retry", "step"])
# an orphan that runs waits for one parent, and the other, that failed, is made anew meanwhile
@example({2: [0, 1]}, True, ["claim", "fail", "reap", "retry", "step", "audit"])
# cancelled and failed ones, made anew in any order
@example(
    {8: [3], 5: [3, 3], 6: [], 2: [3], 4: [], 1: [4, 4], 0: [5, 2], 7: [1, 2]},
    False,
    ["claim", "claim", "fail", "claim", "claim", "cancel", "cancel", "cancel", "cancel", "retry", "claim", "break"],
)
# paused, and resumed before the pause was done: the names of the acts sort the other way round
@example({}, False, [*["priority"] * 8, "pause"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(graphs(), st.booleans(), st.lists(st.sampled_from(MOVES), min_size=10, max_size=40))
def test_laws_of_a_batch(
    ledger: Ledger, redis: Redis, parents: dict[int, list[int]], orphans_run: bool, moves: list[str]
) -> None:
    play = Play(ledger, redis, parents, orphans_run)
    for name in moves:
        play.move(name)
    play.end()
    assert audit(ledger) == {}
    found, account = ledger.batch("acme", play.batch.id), ledger.credit("acme")
    assert found is not None
    assert (found.state, found.open, found.held, sum(found.counts.values())) == (BatchState.ENDED, 0, 0, JOBS)
    spent = PRICE * found.counts[State.SUCCEEDED]
    assert account == Account(CREDIT - spent, 0)
    assert found.spent == spent
    assert CHILDREN_AT_ONCE > JOBS
