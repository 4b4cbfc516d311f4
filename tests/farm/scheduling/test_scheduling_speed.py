"""The moving estimate of a lane's speed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.scheduling.throughput import Speed, learned, predicted_s


def after(*renders: tuple[float, float]) -> Speed | None:
    speed = None
    for work_tflop, seconds in renders:
        speed = learned(speed, work_tflop, seconds)
    return speed


def test_nothing_measured_is_the_assumption() -> None:
    assert predicted_s(600, None, 300) == 2.0


def test_the_first_render_is_believed() -> None:
    speed = after((1000, 4))
    assert speed == Speed(0.004, 1)
    assert speed is not None
    assert speed.tflops == 250
    assert predicted_s(500, speed, 300) == 2.0


def test_then_it_is_a_mean_and_then_it_follows() -> None:
    assert after((1, 1), (1, 3)) == Speed(2.0, 2)
    speed = after(*[(1, 1)] * 50, *[(1, 2)] * 50)
    assert speed is not None
    assert speed.samples == 10
    assert speed.s_per_tflop == pytest.approx(2.0, rel=0.01)


def test_times_are_averaged_so_that_predictions_add_up() -> None:
    renders = [(100.0, 1.0), (100.0, 2.0), (100.0, 3.0)]
    speed = after(*renders)
    assert sum(predicted_s(work, speed, 300) for work, _ in renders) == pytest.approx(6.0)


def test_a_hiccup_moves_it_little() -> None:
    speed = after(*[(1, 1)] * 10, (1, 1000))
    assert speed is not None
    assert speed.s_per_tflop == pytest.approx(1.3)


@given(
    renders=st.lists(st.tuples(st.floats(allow_nan=True), st.floats(allow_nan=True)), max_size=20),
)
def test_whatever_is_reported_it_stays_a_speed(renders: list[tuple[float, float]]) -> None:
    speed = after(*renders)
    if speed is not None:
        assert 0 < speed.s_per_tflop < math.inf
        assert 1 <= speed.samples <= 10
