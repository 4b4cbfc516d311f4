"""Whose events go out first: tenants take turns, however many receivers one of them names."""

from redis import Redis

from farm.config import Settings
from farm.webhooks.deliveries import Deliveries


def schedule(deliveries: Deliveries, tenant: str, count: int) -> None:
    for n in range(count):
        deliveries.schedule(
            f"{tenant}-{n}",
            job=f"job-{n}",
            tenant=tenant,
            url=f"http://{n}.example",
            dialect="farm",
            receiver=f"{tenant}|{n}.example",
        )


def test_one_tenants_many_receivers_delay_nobody(settings: Settings, redis: Redis) -> None:
    deliveries = Deliveries(redis, settings)
    schedule(deliveries, "mallory", 700)
    schedule(deliveries, "victim", 3)
    # posts that hang: nothing is settled
    taken = [one.tenant for _ in range(6) for one in deliveries.take(1, suspects=1, lease_s=60)]
    assert taken == ["mallory", "victim", "mallory", "victim", "mallory", "victim"]


def test_one_tenant_never_has_all_threads(settings: Settings, redis: Redis) -> None:
    deliveries = Deliveries(redis, settings)
    schedule(deliveries, "mallory", 100)
    threads = settings.webhooks.threads
    held = deliveries.take(threads, suspects=threads, lease_s=60)
    assert len(held) == threads // 2
    assert deliveries.take(threads, suspects=threads, lease_s=60) == []
    schedule(deliveries, "victim", 1)
    assert [one.tenant for one in deliveries.take(threads, suspects=threads, lease_s=60)] == ["victim"]
    assert deliveries.delivered(held[0].id)
    assert len(deliveries.take(threads, suspects=threads, lease_s=60)) == 1


def test_what_a_dead_process_held_goes_out_again(settings: Settings, redis: Redis) -> None:
    deliveries = Deliveries(redis, settings)
    schedule(deliveries, "ada", 2)
    (lost,) = deliveries.take(1, suspects=1, lease_s=0)
    again = deliveries.take(2, suspects=2, lease_s=60)
    assert lost.id in {one.id for one in again}
    assert {one.id for one in deliveries.pending()} == {"ada-0", "ada-1"}
