"""A time left is told when it can be told honestly."""

from hypothesis import given
from hypothesis import strategies as st

from farm.cli.remaining_time import RemainingTime


def see(
    pace: RemainingTime, now_s: float, step: int, *, steps: int = 10, attempt: int = 1, progress: float = 0.0
) -> None:
    pace.see(now_s, attempt=attempt, denoising=True, step=step, steps=steps, progress=progress)


def test_nothing_is_told_before_two_steps_were_timed() -> None:
    pace = RemainingTime()
    assert pace.left_s(0.0) is None
    see(pace, 0.0, 0)
    see(pace, 5.0, 1)
    # the same step seen again is no new sample
    see(pace, 6.0, 1)
    assert pace.left_s(6.0) is None
    see(pace, 9.0, 2)
    assert pace.left_s(9.0) == 8 * 4.5


def test_it_counts_down_between_the_steps_and_then_falls_silent() -> None:
    pace = RemainingTime()
    for step in range(3):
        see(pace, step * 2.0, step, steps=4)
    assert pace.left_s(4.0) == 4.0
    assert pace.left_s(7.0) == 1.0
    assert pace.left_s(8.5) is None


def test_what_follows_the_last_step_is_part_of_it() -> None:
    pace = RemainingTime()
    for step in range(6):
        see(pace, float(step), step, progress=0.1 + 0.1 * step)
    # 5 steps at 1 s each are left, but only 0.1 per second of the 0.4 that is left
    assert round(pace.left_s(5.0) or 0, 6) == 5.0
    see(pace, 6.0, 6, progress=0.62)
    assert (pace.left_s(6.0) or 0) > 4.0


def test_a_new_attempt_starts_without_a_forecast() -> None:
    pace = RemainingTime()
    for step in range(4):
        see(pace, float(step), step)
    assert pace.left_s(3.0) is not None
    see(pace, 30.0, 1, attempt=2)
    assert pace.left_s(30.0) is None


def test_other_phases_are_no_samples() -> None:
    pace = RemainingTime()
    for step in range(4):
        pace.see(float(step), attempt=1, denoising=False, step=step, steps=10, progress=0.0)
    assert pace.left_s(3.0) is None


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=30), st.floats(0, 1000))
def test_a_forecast_is_a_positive_time_or_none(durations: list[float], later_s: float) -> None:
    pace, now_s = RemainingTime(), 0.0
    see(pace, now_s, 0, steps=len(durations))
    for step, duration in enumerate(durations, 1):
        now_s += duration
        see(pace, now_s, step, steps=len(durations), progress=step / len(durations))
        left_s = pace.left_s(now_s + later_s)
        assert left_s is None or 0 < left_s <= max(durations) * (len(durations) - step) * 1.001
