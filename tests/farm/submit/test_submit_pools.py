from collections.abc import Sequence
from typing import Any

import pytest

from farm.config import LeaseSettings, PoolSettings, Settings, WorkerSettings
from farm.jobs.errors import ModelUnavailable, Unavailable
from farm.scheduling.offers import PoolOffer
from farm.scheduling.pools import Pools
from farm.scheduling.throughput import Speed
from models import catalog

T2V, I2V = "wan2.2-t2v-a14b", "wan2.2-i2v-a14b"


class Fleet:
    """What the ledger knows of workers' offers and a clock, both in hand."""

    def __init__(self, **models: list[str]) -> None:
        self.offers: list[PoolOffer] = []
        self.now_s = 1000.0
        self.asked = 0
        self.speeds: dict[str, dict[str, Speed]] = {}
        for pool, ids in models.items():
            self.join(pool, ids)

    def join(self, pool: str, models: Sequence[str] = ()) -> None:
        self.offers.append(PoolOffer(pool, tuple(models), None, 1))

    def pools(self, **settings: Any) -> Pools:
        def seen() -> list[PoolOffer]:
            self.asked += 1
            return self.offers

        return Pools(Settings(**settings), seen, lambda: self.now_s, lambda pool: self.speeds.get(pool, {}))


def test_live_workers_say_what_is_offered_and_where() -> None:
    fleet = Fleet(default=[I2V, T2V], small=["wan2.2-ti2v-5b"], intake=[])
    fleet.join("odd")
    pools = fleet.pools()
    assert pools.offered() == (T2V, I2V, "wan2.2-ti2v-5b")
    assert (pools.pool_for(T2V), pools.pool_for("wan2.2-ti2v-5b")) == ("default", "small")
    assert fleet.asked == 1, "asked once in a second, however many jobs come"


def test_the_pool_with_the_most_workers_for_it_gets_the_job() -> None:
    fleet = Fleet(a=[T2V], b=[T2V])
    fleet.join("b", [T2V])
    assert fleet.pools().pool_for(T2V) == "b"


def test_a_pool_is_remembered_while_its_workers_restart() -> None:
    fleet = Fleet(default=[T2V])
    pools = fleet.pools()
    assert pools.pool_for(T2V) == "default"
    fleet.offers.clear()
    fleet.now_s += 600
    assert pools.pool_for(T2V) == "default"
    fleet.now_s += 3600
    with pytest.raises(Unavailable):
        pools.pool_for(T2V)


def test_what_is_configured_is_offered_before_any_worker_came() -> None:
    assert Fleet().pools(worker=WorkerSettings(pool="rig", models=(I2V,))).pool_for(I2V) == "rig"
    configured = Fleet().pools(pools={"cloud": PoolSettings(models=(T2V,))})
    assert configured.pool_for(T2V) == "cloud"
    with pytest.raises(ModelUnavailable, match=f"choose one of {T2V}"):
        configured.pool_for(I2V)
    with pytest.raises(Unavailable):
        Fleet().pools().pool_for(T2V)


def test_predictions_follow_work_and_speed() -> None:
    pools = Fleet().pools(
        pools={"fast": PoolSettings(tflops=600.0)}, lease=LeaseSettings(wall_factor=10, wall_min_s=1800)
    )
    shape = catalog.settle(catalog.get(T2V), "t2v", {})
    slow_s, fast_s = pools.predict_s(shape, "default"), pools.predict_s(shape, "fast")
    assert slow_s == pytest.approx(shape.work_tflop / 300)
    assert fast_s == pytest.approx(slow_s / 2)
    tiny = catalog.settle(catalog.get(f"{T2V}-tiny"), "t2v", {})
    assert pools.predict_s(tiny, "default") == 1.0
    assert (pools.wall_s(1.0), pools.wall_s(1000.0)) == (1800, 10_000)


def test_a_measured_lane_is_predicted_by_what_was_measured() -> None:
    fleet = Fleet(default=[T2V])
    shape = catalog.settle(catalog.get(T2V), "t2v", {})
    fleet.speeds["default"] = {catalog.get(T2V).lane: Speed(s_per_tflop=0.01, samples=5)}
    assert fleet.pools().predict_s(shape, "default") == pytest.approx(shape.work_tflop / 100)
    assert fleet.pools().predict_s(shape, "other") == pytest.approx(shape.work_tflop / 300)
