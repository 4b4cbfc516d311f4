"""How long an idle worker sleeps after a job was accepted, beside a bare Celery task on the same Redis.

Both from Redis' own clock (MONITOR): the admit script to the claim script of the agent, and the LPUSH of a bare task to
the first command that the task runs. Interleaved, one at a time, so that both meet the same machine.
"""

import argparse
from collections.abc import Sequence

from bench.bare import bare_worker
from bench.local_farm import local_farm
from bench.monitor import Monitor
from bench.report import p50, p99, show
from bench.timeline import Timeline, spans_ms


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.wakeup", description=__doc__)
    parser.add_argument("--samples", type=int, default=150)
    samples = parser.parse_args(argv).samples
    with local_farm() as farm, bare_worker(f"{farm.redis_url}/2") as bare:
        with Monitor(f"{farm.redis_url}/0") as feed:
            for _ in range(samples):
                farm.wait_over(farm.submit())
                bare.run_one()
                feed.settle(0.02)  # both workers are back at their blocking reads
        moments, server = Timeline(farm).moments(feed.commands), farm.server()
    farm_ms, bare_ms = spans_ms(moments, "admit", "claim"), spans_ms(moments, "bare sent", "bare ran")
    published, heard = spans_ms(moments, "admit", "permit"), spans_ms(moments, "permit", "claim")
    assert min(len(farm_ms), len(bare_ms)) >= samples, f"{len(farm_ms)} and {len(bare_ms)} seen of {samples}"
    show(
        "Wake-up of an idle worker, ms",
        ("", "samples", "p50", "p99"),
        [
            ("farm: admitted -> claimed", len(farm_ms), p50(farm_ms), p99(farm_ms)),
            ("  of it: admitted -> permit published", len(published), p50(published), p99(published)),
            ("  of it: permit published -> claimed", len(heard), p50(heard), p99(heard)),
            ("bare Celery: sent -> running", len(bare_ms), p50(bare_ms), p99(bare_ms)),
            ("farm / bare", "", p50(farm_ms) / p50(bare_ms), p99(farm_ms) / p99(bare_ms)),
        ],
        "times by Redis' MONITOR; aim: p50 within 2x of bare Celery's",
        server=server,
    )


if __name__ == "__main__":
    main()
