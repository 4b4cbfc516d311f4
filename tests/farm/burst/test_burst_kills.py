"""SIGKILL of the real process at each step. The law: what the provider charged is what the farm settled, and no job is
charged twice. With many jobs, dialects and random kills: test_burst_law.py."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import preloaded
import pytest
from burst_parts import (
    KEY,
    KEY_ENV,
    PRICE,
    TENANT,
    BuyingFarm,
    animate_job,
    buying_from,
    mishap,
    new_job,
    provider,
    simulated,
)
from redis import Redis

from api.app import create_app
from farm.config import CONFIG_ENV, ProviderSettings, Settings
from farm.embedded.settings_file import render
from farm.jobs.states import Phase, State
from farm.storage.store import Store
from tests.api.gateway_thread import served
from tests.conftest import wait_until
from tests.farm.ledger.ledger_parts import pass_time
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
        self._process = preloaded.Popen(
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
            self._process.wait(90)

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()


@contextmanager
def killed(settings: Settings, seller: ProviderSettings, folder: Path) -> Iterator[Killed]:
    Store(settings.s3).ensure_bucket()
    with served(create_app(settings)) as url:
        made = Killed(buying_from(settings, {seller.dialect: seller}, public_url=url), folder)
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
    with killed(settings, provider(kie), tmp_path) as burst:
        here = burst.farm
        # while the provider has the order and has not answered
        kie.faults.set([mishap("create", "hang", seconds=1.5, times=1)])
        burst.start()
        (first,) = here.admit(new_job("first"))
        wait_until(lambda: kie.ledger()["accepted"] == 1, what="an order")
        burst.kill()
        # while it renders there
        kie.knobs.render_s = 5.0
        burst.start()
        (second,) = here.admit(new_job("second"))
        here.until(second, lambda job: job.purchase_id, "its id")
        burst.kill()
        # while its result is fetched
        kie.knobs.render_s = 0.05
        kie.faults.set([mishap("file", "slow", seconds=20.0, times=1)])
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


def test_a_kill_before_the_purchase_begins_takes_no_slot(
    settings: Settings, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the provider is asked what the job will cost, its only slot is taken, and nothing is bought yet."""
    monkeypatch.setenv(KEY_ENV, KEY)
    with simulated("crun", tmp_path) as crun:
        seller = provider(crun, concurrency=1)
        crun.faults.set([mishap("estimate", "hang", seconds=60, times=1)])
        with killed(settings, seller, tmp_path) as burst:
            here = burst.farm
            burst.start()
            (job_id,) = here.admit(animate_job())
            wait_until(lambda: here.context.gate.state("crun").accounts[0].in_use == 1, what="a slot")
            burst.kill()
            assert here.ledger.purchases_of_job(job_id) == []
            # a lease and what comes before a purchase
            pass_time(redis, 3 + 5 * 20)
            burst.start()
            assert here.until_over(job_id).state is State.SUCCEEDED
            assert crun.ledger()["submits"] == 1
