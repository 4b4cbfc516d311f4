"""The price book: exact, rounded up, and silent about what it does not know."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.billing.prices import PriceBook, cost
from farm.config import PriceSettings
from farm.jobs.job import NewJob
from farm.jobs.spec import InputRef, JobSpec

SPEC = JobSpec("m", "t2v", "p", "", 832, 480, 81, 16, 4, 1.0, None, 5.0, 0)
BOOK = PriceBook(PriceSettings(per_second={"m": {"480p": 6, "720P": 12.5}}))
CLIP = InputRef(key="k")


def job(spec: JobSpec, **data: object) -> NewJob:
    return NewJob("id", "t", spec, "pool", "lane", 1.0, 1.0, dialect_data=data)


def test_a_clip_costs_its_seconds_at_its_resolution() -> None:
    assert BOOK.price(SPEC) == 6_000_000 * 81 // 16
    assert BOOK.price(replace(SPEC, width=720, height=1280)) == 12_500_000 * 81 // 16
    assert BOOK.price(replace(SPEC, width=1024, height=576)) is None, "580p has no price"
    assert BOOK.price(replace(SPEC, model="other")) is None


def test_what_is_animated_costs_the_length_of_its_video() -> None:
    moved = replace(SPEC, task="animate", frames=40, inputs={"video": CLIP})
    assert BOOK.price(moved) == 15_000_000
    assert BOOK.price(replace(moved, frames=30, fps=29.97003)) == 6_006_000, "1.001 s"
    unread = replace(moved, length_of="video", inputs={"video": InputRef(url="https://x")})
    assert BOOK.price(unread) is None
    assert BOOK.exact(unread, {}) is None
    assert BOOK.hold(job(unread)) == 30_000_000, "five seconds"


@pytest.mark.parametrize(("seconds", "billed"), [(2.5, 5), (60, 60), (500, 120)])
def test_apixo_bills_between_five_seconds_and_two_minutes(seconds: float, billed: int) -> None:
    spec = replace(SPEC, task="replace", frames=int(seconds * 16), inputs={"video": CLIP})
    assert BOOK.hold(job(spec, billed_s=[5.0, 120.0])) == billed * 6_000_000


@given(st.integers(0, 10**9), st.fractions(0, 1000))
def test_costs_are_exact_and_rounded_up(rate: int, seconds: Fraction) -> None:
    assert 0 <= cost(rate, seconds) - rate * seconds < 1
