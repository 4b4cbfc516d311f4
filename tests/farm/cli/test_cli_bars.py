"""What a person reads about a job."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from farm.cli.bars import Bars, duration, summary, title, took, words
from farm.wire.own_views import JobView

POOL = {"kind": "pool", "name": "default", "since": "2026-11-20T10:00:00Z"}
NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def job(**more: Any) -> JobView:
    shape = {"width": 64, "height": 64, "frames": 5, "fps": 8, "duration_s": 0.6, "steps": 40}
    rest = {"guidance": 1.0, "shift": 1.0, "seed": 1, "created_at": NOW, "model": "m", "task": "t2v"}
    return JobView(**{"id": "j", "state": "queued", "prompt": "a red fox", **shape, **rest, **more})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"state": "waiting"}, "fetching inputs"),
        ({"position": 0}, "next in the queue"),
        ({"position": 12}, "queued, 12 before it"),
        ({"position": 0, "attempt": 1}, "next in the queue (attempt 2)"),
        ({"position": None}, "queued"),
        ({"held_for": ["paused"]}, "held: paused"),
        ({"held_for": ["paused"], "operator_pauses": [POOL]}, "paused by an operator"),
        ({"held_for": ["approval", "paused"], "operator_pauses": [POOL]}, "held: approval, paused by an operator"),
        ({"state": "running", "phase": "loading"}, "loading"),
        ({"state": "running", "phase": "denoising", "step": 17}, "denoising, step 17/40"),
        ({"state": "running", "cancelling": True, "phase": "denoising"}, "cancelling"),
        ({"state": "succeeded"}, "done"),
        ({"state": "cancelled"}, "cancelled"),
        ({"state": "failed", "error": {"code": "stuck", "message": "no progress"}}, "failed: no progress"),
    ],
)
def test_where_a_job_is(fields: dict[str, Any], expected: str) -> None:
    assert words(job(**fields)) == expected


def test_titles_are_names_or_short_prompts() -> None:
    assert title(job(name="shot 12")) == "shot 12"
    assert title(job(prompt="two\n lines")) == "two lines"
    assert title(job(prompt="x" * 50), 10) == "x" * 9 + "…"


def test_times_and_counts() -> None:
    assert [duration(s) for s in (0.4, 61, 3725)] == ["0:00", "1:01", "1:02:05"]
    assert took(job(started_at=NOW, finished_at=NOW + timedelta(seconds=75))) == "took 1:15"
    assert took(job(finished_at=NOW)) == ""
    assert summary([job(), job(state="failed"), job()]) == "3 jobs: 2 queued, 1 failed"


class _Follow:
    def __init__(self, jobs: list[JobView]) -> None:
        self.jobs = jobs
        self.trouble: str | None = None

    def left_s(self, _job_id: str) -> float | None:
        return 83.0


@pytest.mark.parametrize("width", [60, 80, 130])
def test_the_step_and_the_time_left_survive_a_narrow_terminal(width: int) -> None:
    running = job(state="running", phase="denoising", step=17, attempt=1, name="a name that is rather long for a table")
    console = Console(width=width, record=True, force_terminal=True)
    with console.capture() as capture:
        console.print(Bars(_Follow([running])).render(width, 20))  # type: ignore[arg-type]
    text = capture.get()
    assert "step 17/40" in text
    assert "1:23 left" in text


def test_a_farm_that_is_away_for_a_moment_is_said() -> None:
    follow = _Follow([job()])
    follow.trouble = "nobody answers"
    console = Console(width=100)
    with console.capture() as capture:
        console.print(Bars(follow).render(100, 20))  # type: ignore[arg-type]
    assert capture.get().splitlines()[-1] == "trying again: nobody answers"


def test_what_moves_is_shown_when_not_everything_fits() -> None:
    jobs = [job(id=str(n), name=f"shot {n}") for n in range(50)]
    jobs[40] = job(id="40", name="the one that runs", state="running", phase="loading")
    console = Console(width=100, record=True)
    with console.capture() as capture:
        console.print(Bars(_Follow(jobs)).render(100, 12))  # type: ignore[arg-type]
    lines = capture.get().splitlines()
    assert len(lines) <= 12
    assert lines[0].startswith("the one that runs")
    assert lines[-1] == "50 jobs: 49 queued, 1 running"
