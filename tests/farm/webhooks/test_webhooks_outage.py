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
    for delivery in made.take(20, suspects=0, lease_s=60):
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
