"""The clocks of a render, and the end that is foretold from its pace."""

import math

import pytest

from farm.agent.clocks import Clocks, Disobeyed
from farm.config import LeaseSettings
from farm.jobs.errors import JobFault
from models.planning.request import Progress, Stage

LIMITS = LeaseSettings(stuck_s=60.0, cancel_grace_s=10.0)


def at(step: int, steps: int = 40, stage: Stage = Stage.DENOISING) -> Progress:
    return Progress(stage, 0.5, step, steps)


def test_the_end_is_foretold_from_the_steps_so_far() -> None:
    clocks = Clocks(LIMITS, 1000.0, now=100.0)
    assert clocks.left_s(100.0) == math.inf
    # the first one took long: it compiled
    for step, now in ((0, 150.0), (1, 170.0), (1, 172.0)):
        clocks.progressed(at(step), now)
    assert clocks.left_s(172.0) == math.inf
    clocks.progressed(at(2), 174.0)
    assert clocks.left_s(174.0) == 38 * 4.0
    # time passes also while nothing is told
    assert clocks.left_s(175.0) == 38 * 4.0 - 1
    clocks.progressed(at(38), 100.0 + 70 + 37 * 5)
    assert clocks.left_s(355.0) == 10.0
    assert clocks.left_s(400.0) == 0.0


def test_when_the_next_job_is_wanted() -> None:
    clocks = Clocks(LIMITS, 1000.0, now=0.0)
    for step in range(1, 39):
        clocks.progressed(at(step), step * 4.0)
    now = 38 * 4.0
    assert not clocks.near_end(now, 7.9)
    assert clocks.near_end(now, 8.0)
    assert not clocks.near_end(now + 100, 0.0), "without time ahead only the VAE's turn counts"
    clocks.progressed(at(40, stage=Stage.DECODING), now + 8)
    assert clocks.near_end(now + 8, 0.0)


def test_the_end_of_a_segment_is_not_the_end() -> None:
    clocks = Clocks(LIMITS, 1000.0, now=0.0)
    for step in range(1, 5):
        clocks.progressed(at(step, 8), step * 10.0)
    clocks.progressed(at(4, 8, stage=Stage.DECODING), 41.0)
    assert not clocks.near_end(41.0, 0.0)
    assert clocks.left_s(41.0) == 39.0


def test_a_render_that_starts_over_is_paced_anew() -> None:
    clocks = Clocks(LIMITS, 1000.0, now=0.0)
    for step, now in ((1, 1.0), (2, 2.0), (1, 50.0)):
        clocks.progressed(at(step, 4), now)
    assert clocks.left_s(50.0) == math.inf
    clocks.progressed(at(2, 4), 60.0)
    assert clocks.left_s(60.0) == 20.0


def test_each_clock_has_its_limit() -> None:
    clocks = Clocks(LIMITS, 100.0, now=0.0)
    clocks.check(60.0, None)
    with pytest.raises(JobFault, match="stuck: no progress for 60 seconds"):
        clocks.check(60.1, None)
    clocks.progressed(at(1), 60.1)
    clocks.check(100.0, 95.0)
    with pytest.raises(Disobeyed):
        clocks.check(100.0, 89.0)
    with pytest.raises(JobFault, match="too_long"):
        clocks.check(100.1, None)
