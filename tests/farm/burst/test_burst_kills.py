"""SIGKILL of the real process at each step. The law: what the provider charged is what the farm settled, and no job is
charged twice."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from burst_parts import PRICE, TENANT, BuyingFarm, buying, mishap, new_job

from api.app import create_app
from farm.config import CONFIG_ENV, Settings
from farm.embedded.settings_file import render
from farm.jobs.purchase import PurchaseEnding, PurchaseState
from farm.jobs.states import Phase, State
from farm.storage.store import Store
from tests.api.gateway_thread import served
from tests.conftest import wait_until
from tools.provider_simulator.simulator import Simulator


class Killed:
    """`wanfarm burst` as a process of its own, and a ledger to look at."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        # never started: only its hands are used
        self.farm = BuyingFarm(settings)
        self._config, self._log = folder / "farm.toml", (folder / "burst.log").open("ab")
        self._config.write_text(render(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "farm.cli", "burst"],
            env={**os.environ, CONFIG_ENV: str(self._config)},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, "it had ended by itself"
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(30)

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()


@contextmanager
def killed(settings: Settings, kie: Simulator, folder: Path, **burst: object) -> Iterator[Killed]:
    Store(settings.s3).ensure_bucket()
    with served(create_app(settings)) as url:
        made = Killed(buying(settings, {"kie": kie}, public_url=url, **burst), folder)
        over = threading.Event()

        def reap() -> None:
            # as the io worker does
            while not over.wait(0.2):
                made.farm.ledger.reap()

        reaper = threading.Thread(target=reap, daemon=True)
        reaper.start()
        try:
            yield made
        finally:
            over.set()
            reaper.join(10)
            made.stop()


def law(here: BuyingFarm, kie: Simulator) -> None:
    """Charges that the provider counts are purchases that the farm settled, one for each job."""
    charged = {one["id"]: round(one["units"] * 5000) for one in kie.ledger()["charged"] if one["units"]}
    settled = {one.id: one.cost for one in here.ledger.purchases(0, 2**50) if one.cost}
    assert charged == settled
    assert here.ledger.open_purchases() == []
    assert here.spent() == (0, sum(charged.values()))


def test_a_kill_at_each_step_charges_no_job_twice(settings: Settings, kie: Simulator, tmp_path: Path) -> None:
    with killed(settings, kie, tmp_path) as burst:
        here = burst.farm
        # while the provider has the order and has not answered
        kie.faults.set([mishap("create", "hang", seconds=1.5, times=1)])
        burst.start()
        (first,) = here.admit(new_job("first"))
        wait_until(lambda: kie.ledger()["accepted"] == 1, 60, "an order")
        burst.kill()
        # while it renders there
        kie.knobs.render_s = 5.0
        burst.start()
        (second,) = here.admit(new_job("second"))
        here.until(second, lambda job: job.purchase_id, "its id")
        burst.kill()
        # while its result is fetched
        kie.knobs.render_s = 0.05
        kie.faults.set([mishap("file", "slow", seconds=2.0, times=1)])
        burst.start()
        (third,) = here.admit(new_job("third"))
        here.until(third, lambda job: job.phase == Phase.DOWNLOADING, "its result")
        burst.kill()
        burst.start()
        for job_id in (first, second, third):
            assert here.until_over(job_id).state is State.SUCCEEDED
        assert here.ledger.find(second).attempts_used == 0  # type: ignore[union-attr]
        assert kie.ledger()["submits"] == 3
        law(here, kie)
        assert here.spent(f"tenant {TENANT}") == (0, 3 * PRICE)


def settle_as_an_operator(here: BuyingFarm, kie: Simulator) -> None:
    """What the provider's records do not have never arrived."""
    arrived = {str(one["callback_url"]).rpartition("/")[2]: one["id"] for one in kie.ledger()["charged"]}
    for purchase in here.ledger.open_purchases():
        if not purchase.current and purchase.id is None:
            if purchase.nonce in arrived:
                here.ledger.bought(purchase.nonce, arrived[purchase.nonce], who="op", why="its log")
            else:
                here.ledger.close_purchase(purchase.nonce, PurchaseEnding.NEVER_ARRIVED, 0, who="op", why="its log")


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_the_law_holds_over_many_jobs_and_random_kills(settings: Settings, kie: Simulator, tmp_path: Path) -> None:
    """BURST_JOBS=1000 takes about an hour."""
    jobs = int(os.environ.get("BURST_JOBS", "60"))
    rng = random.Random(7)
    kie.faults.set(
        [
            mishap("create", "drop", chance=0.03),
            mishap("create", "drop", accept=False, chance=0.03),
            mishap("create", "half", chance=0.02),
            mishap("create", "text", chance=0.02),
            mishap("create", "http", status=502, accept=False, chance=0.02),
            mishap("create", "fail", chance=0.03),
            mishap("create", "refuse", kind="busy", chance=0.03),
            mishap("create", "clip", **{"as": "broken"}, chance=0.02),
            mishap("create", "forged", chance=0.03),
            mishap("status", "drop", chance=0.05),
            mishap("status", "text", chance=0.05),
            mishap("status", "unknown", chance=0.05),
            mishap("callback", "twice", chance=0.1),
            mishap("callback", "late", seconds=2, chance=0.1),
            mishap("callback", "order", chance=0.1),
            mishap("file", "cut", chance=0.05),
        ]
    )
    cap = 1.5 * jobs * PRICE / 1e6
    caps = {"farm_month_usd": cap, "farm_day_usd": cap, "tenant_month_usd": None, "tenant_day_usd": None}
    with killed(settings, kie, tmp_path, unknown_after_s=3.0, tries=20, unread_s=1.0, **caps) as burst:
        here = burst.farm
        burst.start()
        ids = here.admit(*(new_job(f"shot {n}") for n in range(jobs)))

        def over() -> bool:
            return here.ledger.counts()[State.SUCCEEDED] == len(ids)

        end = time.monotonic() + 2400
        while not over() and time.monotonic() < end:
            time.sleep(rng.uniform(1.0, 8.0))
            burst.kill()
            settle_as_an_operator(here, kie)
            assert sum(here.spent()) <= cap * 1e6
            burst.start()
        assert over(), here.ledger.counts()

        def reconciled() -> bool:
            settle_as_an_operator(here, kie)
            return all(one.state is PurchaseState.CLOSED for one in here.ledger.open_purchases())

        wait_until(reconciled, 120, "the last purchases")
        law(here, kie)
        used = [job.purchase_id for job in here.ledger.find_many(ids) if job]
        assert len(set(used)) == len(ids)
