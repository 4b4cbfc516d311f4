"""Nobody watches beat: what it sends does not pile up, and what it does not ask for is done all the same."""

import threading
import time
from pathlib import Path

import pytest
from redis import Redis

from farm.claiming import standby_reap
from farm.claiming.alive import say_alive, silent_s
from farm.claiming.celery_app import BEAT_QUEUE, make_app
from farm.claiming.permits import Permits
from farm.claiming.standby_reap import StandbyReaper
from farm.config import Settings
from farm.io_worker.beat_schedule import MOST_WAITING, BoundedScheduler
from farm.io_worker.standby import Standby
from farm.ledger import Ledger
from farm.ledger.upkeep import REAPED_AT_ONCE
from tests.farm.ledger.ledger_parts import POOL, admit, claimed, new_job, outage


@pytest.fixture
def scheduler(settings: Settings, tmp_path: Path) -> BoundedScheduler:
    app = make_app(settings, "beat-under-test")
    app.conf.update(
        beat_schedule={"farm.reap": {"task": "farm.reap", "schedule": 0.001, "options": {"queue": BEAT_QUEUE}}},
        beat_schedule_filename=str(tmp_path / "beat" / "schedule"),
    )
    (tmp_path / "beat").mkdir()
    return BoundedScheduler(app=app, schedule_filename=app.conf.beat_schedule_filename)


def waiting(settings: Settings) -> int:
    with Redis.from_url(settings.redis.broker_url) as broker:
        return int(broker.llen(f"{settings.redis.prefix}:celery:{BEAT_QUEUE}"))


def test_what_beat_sends_does_not_pile_up(scheduler: BoundedScheduler, settings: Settings) -> None:
    for _ in range(4 * MOST_WAITING):
        scheduler.tick()
        time.sleep(0.002)  # the schedule's own interval
    assert waiting(settings) == MOST_WAITING
    with Redis.from_url(settings.redis.broker_url) as broker:
        broker.ltrim(f"{settings.redis.prefix}:celery:{BEAT_QUEUE}", 0, 4)
    scheduler.tick()
    time.sleep(0.002)
    scheduler.tick()
    assert waiting(settings) > 5


def test_beat_goes_on_when_the_clock_goes_back(
    scheduler: BoundedScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry] = scheduler.schedule.values()
    scheduler.tick()
    before = waiting(settings)
    # as an hour that has still to come
    entry.last_run_at = entry.default_now().replace(year=entry.default_now().year + 1)
    scheduler._seen_s = time.time() + 3600
    scheduler._heap = None
    scheduler.tick()
    scheduler.tick()
    assert waiting(settings) > before


def test_it_says_that_it_lives(scheduler: BoundedScheduler, tmp_path: Path) -> None:
    assert silent_s(tmp_path / "beat") == float("inf")
    scheduler.tick()
    assert silent_s(tmp_path / "beat") < 60
    say_alive(tmp_path / "beat")
    assert silent_s(tmp_path / "beat") < 60


class TestStandby:
    def test_what_nobody_asked_for_is_done(self) -> None:
        now, begun = [0.0], []
        standby = Standby({"reap": 2.0, "audit": 30.0}, begun.append, lambda: now[0])
        for now[0] in (2.0, 4.0, 6.0):
            standby.asked("reap")
            assert standby.look() == []
        now[0] = 14.5
        assert standby.look() == ["reap"]
        assert standby.look() == []
        now[0] = 93.0
        assert sorted(standby.look()) == ["audit", "reap"]
        assert begun == ["reap", *sorted(["audit", "reap"], key=begun[1:].index)]

    def test_it_looks_by_itself(self) -> None:
        begun, stopped = threading.Event(), threading.Event()
        standby = Standby({"reap": -2.0}, lambda _name: begun.set(), time.monotonic)
        standby.start(stopped)
        assert begun.wait(90)
        stopped.set()


def reaped_ms(redis: Redis) -> int:
    return int(str(redis.get("wf:reaped")))


class TestStandbyReaper:
    def test_whoever_lives_reaps_when_nobody_did(self, settings: Settings, redis: Redis) -> None:
        ledger = Ledger(redis, settings)
        reaper = StandbyReaper(ledger, Permits(settings), settings)
        reaper.look()
        first = redis.get("wf:reaped")
        assert first is not None
        reaper.look()
        assert redis.get("wf:reaped") == first
        missed = redis.decrby("wf:reaped", 11_000)
        # one that looked lately does not look again so soon: another process finds it
        StandbyReaper(ledger, Permits(settings), settings).look()
        assert reaped_ms(redis) > missed

    @pytest.mark.parametrize(("calls", "looks"), [(200, 1), (1, 30)])
    def test_it_goes_on_until_every_lease_is_seen_to(
        self, settings: Settings, redis: Redis, calls: int, looks: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Although each reap that comes late begins with giving every lease more time."""
        monkeypatch.setattr(standby_reap, "_CALLS", calls)
        ledger = Ledger(redis, settings)
        ledger.reap()
        count = 3 * REAPED_AT_ONCE
        admit(ledger, *[new_job() for _ in range(count)])
        for _ in range(count):
            claimed(ledger)
        reaper = StandbyReaper(ledger, Permits(settings), settings)
        for left in (count, 0):
            outage(redis, 3600)
            self.look_again(reaper)  # finds when the last reap was
            for _ in range(looks):
                self.look_again(reaper)
            assert redis.zcard(f"wf:leases:{POOL}") == left

    @pytest.mark.parametrize("beats", [True, False])
    def test_where_others_reap_it_costs_a_read_at_most(self, settings: Settings, redis: Redis, beats: bool) -> None:
        """And not even that where heartbeats tell of it."""
        ledger = Ledger(redis, settings)
        reaper = StandbyReaper(ledger, Permits(settings), settings)
        reaper.look()
        for n in range(3):
            ledger.reap()
            redis.incrby("wf:reaped", n + 1)  # two reaps in one millisecond would be one
            if beats:
                reaper.heard(ledger.beat(()).reaped)
            redis.config_resetstat()
            self.look_again(reaper)
            stats = redis.info("commandstats")
            assert stats.get("cmdstat_get", {"calls": 0})["calls"] == int(not beats)
            assert "cmdstat_evalsha" not in stats
        # and then nobody does any more
        missed = redis.decrby("wf:reaped", 11_000)
        for _ in range(2):
            if beats:
                reaper.heard(ledger.beat(()).reaped)
            self.look_again(reaper)
        assert reaped_ms(redis) > missed

    def look_again(self, reaper: StandbyReaper) -> None:
        """Its next look, at once."""
        reaper._at = 0.0
        reaper.look()
