"""What operators ask of deliveries while Redis is away, and how long a delivery is tried."""

import time
from collections.abc import Callable

import pytest
from redis import Redis
from webhooks_parts import Office

from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.jobs.errors import Unavailable
from farm.ledger import connect
from farm.webhooks.deliveries import Deliveries
from tests.conftest import wait_until


@pytest.mark.parametrize(
    "ask", [lambda d: d.dead("acme"), lambda d: d.pending(), lambda d: d.get("msg_1"), lambda d: d.replay("acme", "m")]
)
def test_an_outage_is_unavailable_and_no_error_of_ours(ask: Callable[[Deliveries], object]) -> None:
    away = Settings(redis=RedisSettings(ledger_url=f"redis://127.0.0.1:{free_port()}/0"))
    with connect(away.redis) as client, pytest.raises(Unavailable):
        ask(Deliveries(client, away))


def test_many_are_read_in_few_round_trips(redis: Redis, settings: Settings) -> None:
    class Counted(Redis):
        trips = 0

        def execute_command(self, *args: object, **options: object) -> object:
            Counted.trips += 1
            return super().execute_command(*args, **options)

    made = Deliveries(redis, settings)
    for n in range(20):
        made.schedule(f"m{n}", job=str(n), tenant="acme", url="https://x/", dialect="farm", receiver=f"acme|{n}")
    # a tenant has some of them at once
    while taken := made.take(20, suspects=0, lease_s=60):
        for delivery in taken:
            made.bury(delivery.id, status=500, error="no")
    with Counted.from_url(settings.redis.ledger_url, decode_responses=True) as client:
        found = Deliveries(client, settings).dead("acme")
    assert {one.id for one in found} == {f"m{n}" for n in range(20)}
    assert Counted.trips == 1  # the ids; the records come in one pipeline


def test_how_long_it_was_tried_is_told_by_one_clock(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An io worker whose clock is two days ahead of Redis' gave up at the first failure."""
    ahead = time.time() + 2 * 86400
    monkeypatch.setattr("time.time", lambda: ahead)
    office.end_job(f"https://127.0.0.1:{free_port()}/hook")  # nobody listens
    office.until(lambda: [d.attempts for d in office.postman.deliveries.pending()] == [1], "the first failure")
    assert office.postman.deliveries.dead("acme") == []


def test_a_clock_that_goes_back_puts_no_delivery_off(redis: Redis, settings: Settings) -> None:
    made = Deliveries(redis, settings)
    for name in ("due", "later", "flying"):
        made.schedule(name, job=name, tenant="acme", url="https://x/", dialect="farm", receiver=f"acme|{name}")
    for delivery in made.take(3, suspects=3, lease_s=30):
        if delivery.id == "later":
            made.retry("later", status=500, error="no", pause_s=60)
        if delivery.id == "due":
            made.retry("due", status=500, error="no", pause_s=0)
    # everything that is stored is an hour in the future now
    for key in [*redis.scan_iter("wf:hooks:due:*"), *redis.scan_iter("wf:hooks:leased:*"), "wf:hooks:receivers"]:
        for member, score in redis.zrange(key, 0, -1, withscores=True):
            redis.zadd(key, {member: score + 3_600_000})
    redis.incrby("wf:hooks:looked", 3_600_000)
    taken: list[str] = []

    def look() -> list[str]:
        taken.extend(delivery.id for delivery in made.take(3, suspects=3, lease_s=30))
        return taken

    wait_until(look, what="what is due")
    assert taken == ["due"]
    now_ms = redis.time()[0] * 1000
    assert 50_000 < redis.zscore("wf:hooks:due:acme|later", "later") - now_ms <= 61_000
    assert 20_000 < redis.zscore("wf:hooks:leased:acme|flying", "flying") - now_ms <= 31_000
    assert int(redis.get("wf:hooks:looked") or 0) <= now_ms + 1000


class TestPlaces:
    """Places of the postman are given back, whatever happens."""

    def test_when_no_post_can_be_started(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(3):
            office.end_job(f"https://127.0.0.1:{free_port()}/hook")

        def refuse(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(office.postman._pool, "submit", refuse)
            with pytest.raises(RuntimeError):
                office.postman.look()
        assert (office.postman._busy, office.postman._busy_suspects) == (0, 0)

    def test_when_nothing_can_be_said_of_how_it_went(self, office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[object] = []

        def broken(*_: object) -> None:
            tried.append(1)
            raise Unavailable("away")

        monkeypatch.setattr(office.postman, "_deliver", lambda _delivery: 1 / 0)
        monkeypatch.setattr(office.postman, "_settle", broken)
        office.end_job(f"https://127.0.0.1:{free_port()}/hook")
        office.until(lambda: tried, "a post that fails twice")
        wait_until(lambda: office.postman._busy == 0, what="its place to be free")
