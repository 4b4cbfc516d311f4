"""Whether 10,000 rows and 1,000 tiles stay usable: a real Chromium on a real gateway, which scrolls to the last job,
hears of changes, and goes back. Time is what the page's own thread was busy for, which does not see who else is at work
on the machine; memory is that of the page's scripts and its nodes.
"""

import argparse
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from playwright.sync_api import Page, sync_playwright

from bench.local_farm import SHOT
from bench.local_gateway import LocalGateways, local_gateways
from bench.report import show
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.jobs.spec import JobSpec
from farm.ledger import Ledger, connect
from models.catalog import MODELS

_AT_ONCE = 200
_PATIENCE_MS = 120_000


@dataclass(frozen=True)
class PageCost:
    """busy_ms: of the page's thread since it began; heap_mb: of its scripts; nodes: that it holds; items: jobs."""

    busy_ms: float
    heap_mb: float
    nodes: float
    items: int


class Devtools:
    """The browser's own figures of one page."""

    def __init__(self, page: Page) -> None:
        self._page, self._session = page, page.context.new_cdp_session(page)
        # of the processor, not of the clock
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def cost(self) -> PageCost:
        """As of now, what is garbage left out."""
        self._session.send("HeapProfiler.collectGarbage")
        told = {one["name"]: one["value"] for one in self._session.send("Performance.getMetrics")["metrics"]}
        items = self._page.locator("#jobs [data-job]").count()
        return PageCost(told["TaskDuration"] * 1000, told["JSHeapUsedSize"] / 1e6, told["Nodes"], items)


def admit(ground: LocalGateways, count: int, label: str) -> list[str]:
    """Ids of so many queued jobs, the oldest first."""
    spec = JobSpec(
        **{name: SHOT[name] for name in ("model", "width", "height", "frames", "fps", "steps")},
        task="t2v",
        prompt="a red fox runs through deep snow, morning light, slow dolly in",
        negative_prompt="",
        guidance=5.0,
        guidance_2=None,
        shift=5.0,
        seed=7,
    )
    job = NewJob("", "bench", spec, "default", MODELS[spec.model].lane, predicted_s=5.0, wall_s=60.0, label=label)
    made: list[str] = []
    with connect(ground.settings.redis) as redis:
        ledger = Ledger(redis, ground.settings)
        for at in range(0, count, _AT_ONCE):
            jobs = [replace(job, id=new_job_id(), name=f"shot {at + n:05}") for n in range(min(_AT_ONCE, count - at))]
            ledger.admit(jobs)
            made += [one.id for one in jobs]
    return made


@contextmanager
def browsing(port: int, key: str) -> Iterator[Page]:
    """A page that is signed in."""
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("no chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1440, "height": 900})
        page.set_default_timeout(_PATIENCE_MS)
        page.goto("/")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Jobs").wait_for()
        yield page
        browser.close()


def through(page: Page, ground: LocalGateways, ids: list[str], view: str) -> list[tuple[object, ...]]:
    """Rows of the table for one list of jobs, seen as `view`."""
    page.goto(f"/console/jobs?{view}")
    page.locator("#jobs [data-job]").first.wait_for()
    tools = Devtools(page)
    rows: list[tuple[object, ...]] = []
    began = at = tools.cost()
    rows.append(("opened", at.items, at.busy_ms, at.heap_mb, at.nodes))

    def tell(what: str) -> None:
        nonlocal at
        now = tools.cost()
        rows.append((what, now.items, now.busy_ms - at.busy_ms, now.heap_mb, now.nodes))
        at = now

    while page.locator(".older").count():
        page.mouse.wheel(0, 100_000)
        page.wait_for_timeout(20)
    tell(f"scrolled to the last of {len(ids):,}")
    with connect(ground.settings.redis) as redis:
        ledger = Ledger(redis, ground.settings)
        last = "[...document.querySelectorAll('#jobs [data-job]')].slice(-100).map(one => one.dataset.job)"
        seen: list[str] = page.evaluate(last)
        for job_id in seen:
            ledger.cancel("bench", job_id)
        page.wait_for_function(
            "n => document.querySelectorAll('#jobs .chip.cancelled').length >= n", arg=len(seen), timeout=_PATIENCE_MS
        )
    tell("100 jobs in sight changed")
    page.get_by_label("Choose all shown").check()
    page.wait_for_function(
        "count => document.querySelector('#chosen').textContent.replace(/\\D/g, '') === `${count}`", arg=len(ids)
    )
    tell(f"{len(ids):,} chosen")
    for _ in range(50):
        page.mouse.wheel(0, -3000)
        page.wait_for_timeout(10)
    page.wait_for_function("() => document.querySelectorAll('#jobs [data-job]').length > 0")
    tell("150,000 px back, in 50 steps")
    assert began.items <= at.items
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.console_pages", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--tiles", type=int, default=1_000)
    asked = parser.parse_args(argv)
    for count, view, name in ((asked.rows, "", "rows"), (asked.tiles, "view=tiles", "tiles")):
        # nothing but its own jobs in each
        with local_gateways() as ground, browsing(ground.serve("farm").port, ground.key) as page:
            ids, server = admit(ground, count, name), ground.server()
            found = through(page, ground, ids, view)
        show(
            f"The list of jobs in Chromium, {count:,} {name}",
            ("", "jobs in the page", "page busy ms", "script heap MB", "nodes"),
            found,
            "busy: since the line above, all of the page's thread: scripts, style, layout",
            server=server,
        )


if __name__ == "__main__":
    main()
