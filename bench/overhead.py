"""What a job costs besides its render: jobs whose render takes nothing, beside bare Celery tasks that do nothing.

One at a time, where each step is seen (times by Redis' MONITOR), and with a backlog, where a worker is never idle.
"""

import argparse
import time
from collections.abc import Callable, Sequence

from bench.bare import bare_worker
from bench.local_farm import LocalFarm, local_farm
from bench.monitor import Monitor
from bench.report import p50, p99, show
from bench.timeline import Timeline, spans_ms

#: what happens between two moments of a job, in order
STEPS = (
    ("admit", "claim", "wake-up: accepted -> claimed"),
    # what lasts less than a second is no phase of its own to the ledger
    ("claim", "commit", "prepare, render, upload 3 objects, verify each: claimed -> committed"),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--backlog", type=int, default=200)
    asked = parser.parse_args(argv)
    with local_farm() as farm, bare_worker(f"{farm.redis_url}/2") as bare:
        with Monitor(f"{farm.redis_url}/0") as feed:
            whole_ms = [_timed_ms(lambda: farm.wait_over(farm.submit())) for _ in range(asked.samples)]
            bare_ms = [_timed_ms(bare.run_one) for _ in range(asked.samples)]
            feed.settle()
        moments, server = Timeline(farm).moments(feed.commands), farm.server()
        farm_each = _backlog_ms(farm, asked.backlog)
        with bare.held():
            for _ in range(asked.backlog):
                bare.send()
        bare_each = _timed_ms(lambda: [bare.wait_one() for _ in range(asked.backlog)]) / asked.backlog
    rows: list[tuple[object, ...]] = [("farm: POST -> committed", p50(whole_ms), p99(whole_ms))]
    for begin, end, what in STEPS:
        spans = spans_ms(moments, begin, end)
        assert len(spans) == asked.samples, f"{what}: {len(spans)} of {asked.samples} seen"
        rows.append((f"  {what}", p50(spans), p99(spans)))
    rows += [
        ("bare Celery: sent -> ran", p50(bare_ms), p99(bare_ms)),
        (f"farm, backlog of {asked.backlog}: each", farm_each, ""),
        (f"bare Celery, backlog of {asked.backlog}: each", bare_each, ""),
    ]
    note = "a farm's job also stores three objects and tells its progress; a bare task does one Redis command"
    show("A job without its render, ms", ("", "p50", "p99"), rows, note, server=server)


def _backlog_ms(farm: LocalFarm, jobs: int) -> float:
    """Milliseconds from one commit to the next while the queue is never empty."""
    ids = [farm.submit() for _ in range(jobs)]
    for job_id in ids:
        farm.wait_over(job_id)
    ends = sorted(ended for job_id in ids if (ended := farm.ledger.find(job_id).finished_ms))
    return (ends[-1] - ends[jobs // 4]) / (jobs - 1 - jobs // 4)


def _timed_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
