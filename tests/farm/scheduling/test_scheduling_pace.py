"""What a tenant's renders take over what was predicted, and how forecasts come true."""

import random

import pytest

from farm.scheduling.pace import Pace, Paces, RenderSums, RunningRender, paces
from farm.scheduling.progress import LineProgress


def renders(*ratios: float, predicted_s: float = 100.0) -> RenderSums:
    found = RenderSums()
    for one in ratios:
        found = found.and_(one * predicted_s, predicted_s, 1.0)
    return found


def test_before_anything_is_known_predictions_are_believed_and_doubted() -> None:
    pace = paces({}).of("a")
    assert [pace.level, pace.doubt, pace.spread] == pytest.approx([1.0, 0.3, 0.25])


def test_each_tenant_s_own_renders_count_soon_and_those_of_others_where_it_has_none() -> None:
    known = paces({"slow": renders(*[2.0, 2.1, 1.9, 2.0] * 2), "right": renders(*[1.0, 1.1, 0.9, 1.0] * 2)})
    assert known.of("slow").level == pytest.approx(2.0, abs=0.1)
    assert known.of("right").level == pytest.approx(1.0, abs=0.1)
    new = known.of("new")
    assert 1.2 < new.level < 1.6
    assert new.doubt > 3 * known.of("right").doubt
    assert paces({"slow": renders(2.0)}).of("slow").level < 1.8


def test_doubt_falls_with_each_render_and_is_as_large_as_the_error() -> None:
    chance = random.Random(2)
    near, doubts = 0, []
    for _ in range(200):
        level = chance.gauss(1.0, 0.3)
        ratios = [max(0.05, chance.gauss(level, 0.25)) for _ in range(6)]
        found = paces({"a": renders(*ratios)}).of("a")
        doubts.append(found.doubt)
        near += abs(found.level - level) < 1.28 * found.doubt
    assert 0.65 < near / 200 < 0.9
    assert max(doubts) < 0.3


def test_what_is_overdue_tells_before_it_ends() -> None:
    overdue = [RunningRender("a", "normal", 100.0, 190.0) for _ in range(4)]
    early = [RunningRender("b", "normal", 100.0, 30.0) for _ in range(4)]
    known = paces({}, running=[*overdue, *early])
    assert known.of("a").level > 1.5
    assert known.of("b").level == pytest.approx(1.0, abs=0.25)
    # and is not about to end
    assert known.remaining_s(overdue[0]) > 5.0
    assert known.remaining_s(early[0]) == pytest.approx(70.0, abs=25.0)


def test_a_worker_s_first_load_is_a_load_and_no_slow_render() -> None:
    known = paces({"a": renders(1.0, 1.0)}, cold=renders(1.6, 1.6, 1.6, 1.6))
    assert known.of("a").level == pytest.approx(1.0, abs=0.05)
    assert known.load_s == pytest.approx(60.0, abs=5.0)
    first, next_ = RunningRender("a", "normal", 100.0, 10.0, cold=True), RunningRender("a", "normal", 100.0, 10.0)
    assert known.remaining_s(first) - known.remaining_s(next_) == pytest.approx(60.0, abs=10.0)
    assert Paces({}, Pace(1.0, 0.0, 0.0)).remaining_s(next_) == 90.0


def watched(progress: LineProgress, *gained: float) -> LineProgress:
    for one in gained:
        progress = progress.and_(one, 30.0, 30.0)
    return progress


def test_jobs_that_keep_coming_slow_the_forecasts_and_one_dump_does_not() -> None:
    trickle, dump = watched(LineProgress(), *[10.0] * 100), watched(LineProgress(), *[30.0] * 50, -5000.0, *[30.0] * 49)
    assert trickle.rate(240.0) < 0.6
    assert dump.rate(240.0) > 0.9
    assert LineProgress().rate(240.0) == 1.0
    # what is seen for an hour is believed
    assert watched(LineProgress(), *[12.0] * 120).rate(240.0) == pytest.approx(0.4, abs=0.06)
    # nor does what is cancelled speed them up
    assert watched(LineProgress(), *[90.0] * 50).rate(240.0) < 1.1
    assert LineProgress().doubt(240.0) > 1.5 * dump.doubt(240.0)


def test_starts_out_of_order_are_known_by_how_far_they_were_from_their_turn() -> None:
    progress = LineProgress()
    assert progress.order_s(30.0) == pytest.approx(30.0)
    for n in range(40):
        progress = progress.begun(600.0 if n % 2 else 0.0)
    assert 300.0 < progress.order_s(30.0) < 500.0
