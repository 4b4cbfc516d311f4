"""When a trace could end at the soonest: no schedule, of whatever knowledge, ends before."""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise

from bench.simulation.policy import ATTEMPTS
from bench.simulation.trace import LOAD_S, Trace, TraceShot

#: a poisonous shot fails after this part of its time
POISON_PART = 0.1


def work_s(shot: TraceShot) -> float:
    """GPU-seconds that the shot takes, of all its attempts where it is poisonous."""
    return shot.true_s * (ATTEMPTS * POISON_PART if shot.poison else 1.0)


def lower_bound_s(trace: Trace) -> float:
    """The latest of these, of all shots and all workers, and of large shots and large workers alone:

    - the end of a shot that starts when it arrives;
    - the time by which the workers have the GPU-seconds of all that arrives from some time on. A worker has none while
      it is away after a crash, and each time it starts with nothing loaded its first LOAD_S go into that. What a crash
      destroys of a render is not in it: a schedule that knew of the crash could have ended a shot just before."""
    everyone = range(trace.gpus)
    return max(
        _bound_s(trace, trace.shots, everyone),
        _bound_s(trace, [s for s in trace.shots if s.large], [n for n in everyone if trace.large[n]]),
    )


def _bound_s(trace: Trace, shots: Iterable[TraceShot], workers: Iterable[int]) -> float:
    best, left_s, stretches = 0.0, 0.0, [list(_stretches(trace, worker)) for worker in workers]
    for at_s, arriving in groupby(sorted(shots, key=lambda shot: -shot.at_s), key=lambda shot: shot.at_s):
        for shot in arriving:
            left_s += work_s(shot)
            best = max(best, at_s + work_s(shot))
        best = max(best, _done_s(stretches, at_s, left_s))
    return best


def _stretches(trace: Trace, worker: int) -> Iterator[tuple[float, float]]:
    """From when to when the worker is there."""
    crashes = sorted((crash for crash in trace.crashes if crash.worker == worker), key=lambda crash: crash.at_s)
    ends = [0.0, *(time for crash in crashes for time in (crash.at_s, crash.at_s + crash.away_s)), float("inf")]
    for n, (begin_s, end_s) in enumerate(pairwise(ends)):
        if n % 2 == 0:
            yield begin_s, end_s


def _done_s(stretches: list[list[tuple[float, float]]], from_s: float, work: float) -> float:
    """By when workers that are there in these stretches have `work` GPU-seconds after `from_s`. None has more than one
    in a second, so that each step stays below the answer."""
    until_s = from_s
    while (left := work - sum(_had_s(one, from_s, until_s) for one in stretches)) > 1e-6 * len(stretches):
        until_s += left / len(stretches)
    return until_s


def _had_s(stretches: list[tuple[float, float]], from_s: float, until_s: float) -> float:
    had = 0.0
    for begin_s, end_s in stretches:
        # whoever was there before may have a model loaded
        load_s = LOAD_S if begin_s >= from_s else 0.0
        had += max(0.0, min(end_s, until_s) - max(begin_s, from_s) - load_s)
    return had
