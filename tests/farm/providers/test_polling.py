"""When open jobs are asked about."""

import itertools
import random
from dataclasses import replace

from farm.providers.entry import Entry
from farm.providers.polling import Polls

KIE = Entry("kie", "kie", "https://kie.example", poll_first_s=3.0, poll_max_s=30.0)


def polls() -> Polls:
    return Polls(random.Random(7))


def test_pauses_grow_to_the_longest_and_every_poll_counts_once() -> None:
    mine, asked = polls(), list[float]()
    mine.add("j", KIE, 0.0)
    for tick in range(0, 6000):
        now = tick / 10
        for job in mine.due(now):
            assert mine.due(now) == []
            asked.append(now)
            mine.answered(job, now)
    pauses = [b - a for a, b in itertools.pairwise(asked)]
    assert 2.4 <= asked[0] <= 3.7
    assert 2.4 <= pauses[0] <= 3.8
    assert all(24.0 <= pause <= 36.2 for pause in pauses[9:])


def test_apixo_waits_longer_at_first_than_later() -> None:
    mine = polls()
    mine.add("j", replace(KIE, poll_first_s=60.0, poll_max_s=15.0), 0.0)
    first = mine.next_in(0.0)
    assert first is not None
    assert first >= 48
    assert mine.due(first) == ["j"]
    mine.answered("j", first)
    assert (mine.next_in(first) or 0) <= 18


def test_hundreds_that_are_resumed_together_are_not_asked_about_together() -> None:
    mine, seen = polls(), set[str]()
    slow = replace(KIE, poll_first_s=20.0)
    for n in range(500):
        mine.add(f"j{n}", slow, 0.0, resumed=True)
    most = 0
    for tick in range(0, 210):
        due = mine.due(tick / 10)
        most = max(most, len(due))
        seen |= set(due)
        for job in due:
            mine.answered(job, tick / 10)
    assert len(seen) == len(mine) == 500
    assert most < 20  # of 500 in 20 s, at ten looks a second


def test_a_missed_poll_is_asked_again_later_and_never_the_last() -> None:
    mine, now, waits = polls(), 0.0, list[float]()
    mine.add("j", KIE, now)
    for _ in range(40):
        wait = mine.next_in(now)
        assert wait is not None
        waits.append(wait)
        now += wait
        assert mine.due(now) == ["j"]
        mine.missed("j", now)
    assert waits[5] > waits[1]
    assert max(waits) <= 360.0
    assert mine.due(now + (mine.next_in(now) or 0)) == ["j"]
    mine.missed("j", now, retry_after_s=4000.0)
    assert (mine.next_in(now) or 0) >= 4000.0


def test_a_callback_hurries_one_that_is_followed_here() -> None:
    mine = polls()
    mine.add("j", KIE, 0.0)
    assert mine.soon("j", 0.1)
    assert mine.due(0.1) == ["j"]
    assert not mine.soon("j", 0.1)  # it is being asked about
    assert not mine.soon("other", 0.1)
    mine.remove("j")
    mine.answered("j", 0.2)
    assert (mine.next_in(0.2), mine.due(1e9), len(mine)) == (None, [], 0)


def test_few_are_taken_at_a_time() -> None:
    mine = polls()
    for n in range(10):
        mine.add(f"j{n}", KIE, 0.0)
    assert len(mine.due(100.0, most=4)) == 4
    assert len(mine.due(100.0)) == 6
