"""Tenants and keys on a real Redis."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from farm.config import Settings
from farm.jobs.errors import Conflict, InvalidRequest, NotFound, Unavailable
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.jobs.roles import Role
from farm.jobs.spec import JobSpec
from farm.jobs.states import Tier
from farm.ledger import Ledger
from farm.ledger.operations import Actor
from farm.tenants.api_keys import Principal, new_key, well_formed
from farm.tenants.tenants import Tenant, Tenants


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenants(redis: Redis, settings: Settings, clock: Clock) -> Tenants:
    return Tenants(redis, settings, wall_s=clock, mono_s=clock)


def test_a_tenant_is_what_the_ledger_reads(tenants: Tenants, redis: Redis) -> None:
    made = tenants.create("studio-a", name="Studio A", weight=2.5, max_open=100)
    assert tenants.get("studio-a") == made
    assert tenants.list() == [made]
    raw = redis.hgetall("wf:tenant:studio-a")
    assert (raw["weight"], raw["max_open"]) == ("2.5", "100")
    assert "rate_per_minute" not in raw


def test_limits_change_and_go(tenants: Tenants) -> None:
    tenants.create("a", max_open=5)
    assert tenants.set("a", max_open=None, rate_per_minute=30, rate_burst=10).max_open is None
    found = tenants.get("a")
    assert found is not None
    assert (found.max_open, found.rate_per_minute, found.rate_burst) == (None, 30, 10)


def test_a_weight_counts_at_once_wherever_the_tenant_stands(redis: Redis, tenants: Tenants, settings: Settings) -> None:
    """Before any charge looks at it: forecasts and explanations of others read what it is charged by."""
    tenants.create("a")
    ledger = Ledger(redis, settings)
    for tier in (Tier.NORMAL, Tier.ECONOMY):
        ledger.admit([_draft("a", tier), _draft("a", tier)])
    assert ledger.claim("gpu", "w1") is not None
    tenants.set("a", weight=4.0)
    _, snapshot = ledger.snapshot("gpu")
    # of the hundred seconds that it was charged in the normal tier
    assert [[(one.weight, one.time) for one in line] for line in snapshot.tiers] == [[], [(4.0, 25.0)], [(4.0, 0.0)]]


RAISES: dict[str, Callable[[Tenants], object]] = {
    "the operator, everywhere": lambda tenants: tenants.set("a", max_running=2),
    "the operator, no cap": lambda tenants: tenants.set("a", max_running=None),
    "the operator, in a pool": lambda tenants: tenants.cap_in_pool("a", "gpu", 2),
    "its own admin": lambda tenants: tenants.own_limits.lower("a", {"max_running": None}, {"gpu": None}, by=Actor("a")),
}


@pytest.mark.parametrize("who", RAISES)
def test_a_cap_that_is_raised_lets_the_next_job_start(
    tenants: Tenants, redis: Redis, settings: Settings, who: str
) -> None:
    """Before any reap, which looks at a few tenants alone."""
    in_pool = who == "the operator, in a pool"
    tenants.create("a")
    if in_pool:
        tenants.cap_in_pool("a", "gpu", 1)
    elif who == "its own admin":
        tenants.own_limits.lower("a", {"max_running": 1}, {"gpu": 1}, by=Actor("a"))
    else:
        tenants.set("a", max_running=1)
    ledger = Ledger(redis, settings)
    ledger.admit([_draft("a", Tier.NORMAL), _draft("a", Tier.NORMAL)])
    assert ledger.claim("gpu", "w1") is not None
    assert ledger.claim("gpu", "w2") is None
    RAISES[who](tenants)
    assert ledger.claim("gpu", "w2") is not None


def _draft(tenant: str, tier: Tier) -> NewJob:
    spec = JobSpec("wan2.2-t2v-a14b", "t2v", "a fox", "", 832, 480, 81, 16, 40, 4.0, 3.0, 12.0, 1)
    times: dict[str, Any] = {"predicted_s": 100.0, "wall_s": 1800.0, "deadline_ms": int(1e13)}
    return NewJob(new_job_id(), tenant, spec, "gpu", "lane", tier=tier, **times)


def test_two_changes_at_once_are_both_kept(redis: Redis, tenants: Tenants, settings: Settings, clock: Clock) -> None:
    """One operator raises the weight while another's change lies between reading and writing."""
    tenants.create("a", weight=1.0, max_open=5)

    class Slow(Tenants):
        def get(self, tenant_id: str) -> Tenant | None:
            found = super().get(tenant_id)
            if not changed:
                changed.append(tenants.set("a", weight=3.0))
            return found

    changed: list[Tenant] = []
    after = Slow(redis, settings, wall_s=clock, mono_s=clock).set("a", max_open=9)
    assert (after.weight, after.max_open) == (3.0, 9)
    assert tenants.get("a") == after


@pytest.mark.parametrize("field", ["name", "weight"])
def test_what_every_tenant_has_cannot_be_removed(tenants: Tenants, field: str) -> None:
    before = tenants.create("a")
    with pytest.raises(InvalidRequest, match="not removed"):
        tenants.set("a", **{field: None})
    assert tenants.get("a") == before


@pytest.mark.parametrize("bad", ["", "A", "a/b", "-a", "a-", "a" * 33, "a b", "ä", "a\n"])
def test_an_id_is_safe_in_keys_and_paths(tenants: Tenants, bad: str) -> None:
    with pytest.raises(InvalidRequest):
        tenants.create(bad)
    assert tenants.list() == []


@pytest.mark.parametrize(
    "limits",
    [
        {"weight": 0},
        {"weight": float("nan")},
        {"max_open": 0},
        {"rate_burst": 1.5},
        {"wieght": 2},
        {"provenance": "maybe"},
    ],
)
def test_a_limit_that_means_nothing_is_refused(tenants: Tenants, limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tenants.create("a", **limits)
    assert refused.value.field == next(iter(limits))


def test_a_taken_id_keeps_what_it_had(tenants: Tenants) -> None:
    tenants.create("a", weight=3)
    with pytest.raises(Conflict):
        tenants.create("a", weight=9)
    found = tenants.get("a")
    assert found is not None
    assert found.weight == 3


def test_a_key_opens_once_shown_and_is_not_stored(tenants: Tenants, redis: Redis) -> None:
    tenants.create("a")
    key, text = tenants.api_keys.create("a", name="laptop")
    assert text.startswith(key.shown)
    assert key.shown.startswith("wf_live_")
    assert tenants.api_keys.authenticate(text) == Principal("a", Role.MEMBER, key.id)
    for name in redis.keys("*"):
        kind = redis.type(name)
        stored = str(redis.hgetall(name) if kind == "hash" else redis.smembers(name))
        assert text not in stored
        assert text[len(key.shown) : -7] not in stored


def test_two_keys_live_side_by_side(tenants: Tenants, clock: Clock) -> None:
    tenants.create("a")
    first, old = tenants.api_keys.create("a")
    clock.now += 1
    second, new = tenants.api_keys.create("a", role="operator", env="test")
    assert [k.id for k in tenants.api_keys.of("a")] == [first.id, second.id]
    assert tenants.api_keys.authenticate(old) is not None
    principal = tenants.api_keys.authenticate(new)
    assert principal is not None
    assert principal.role is Role.OPERATOR


def test_the_last_day_of_use_is_kept(tenants: Tenants, clock: Clock) -> None:
    tenants.create("a")
    _, text = tenants.api_keys.create("a")
    assert tenants.api_keys.of("a")[0].last_used is None
    tenants.api_keys.authenticate(text)
    assert tenants.api_keys.of("a")[0].last_used == "2026-09-21"
    clock.now += 86400
    tenants.api_keys.authenticate(text)
    assert tenants.api_keys.of("a")[0].last_used == "2026-09-22"


def test_a_revoked_key_ends_here_at_once_and_elsewhere_within_the_cache(
    tenants: Tenants, redis: Redis, settings: Settings, clock: Clock
) -> None:
    elsewhere = Tenants(redis, settings, wall_s=clock, mono_s=clock)
    tenants.create("a")
    key, text = tenants.api_keys.create("a")
    assert tenants.api_keys.authenticate(text)
    assert elsewhere.api_keys.authenticate(text)
    tenants.api_keys.revoke(key.id)
    assert tenants.api_keys.authenticate(text) is None
    clock.now += settings.gateway.key_cache_s
    assert elsewhere.api_keys.authenticate(text) is None
    assert tenants.api_keys.of("a") == []
    with pytest.raises(NotFound):
        tenants.api_keys.revoke(key.id)


def test_a_known_key_asks_redis_once_per_cache_life(tenants: Tenants, redis: Redis) -> None:
    tenants.create("a")
    _, text = tenants.api_keys.create("a")
    unknown = new_key()
    tenants.api_keys.authenticate(text)
    tenants.api_keys.authenticate(unknown)
    pool = redis.connection_pool
    # not the server's own count: others may ask it, too
    with patch.object(pool, "get_connection", wraps=pool.get_connection) as asked:
        for _ in range(5):
            assert tenants.api_keys.authenticate(text)
            assert tenants.api_keys.authenticate(unknown) is None
            assert tenants.api_keys.authenticate("wf_live_nonsense") is None
        assert asked.call_count == 0
        tenants.api_keys.authenticate(new_key())
        assert asked.call_count > 0


def test_a_right_id_with_a_wrong_secret_opens_nothing(tenants: Tenants) -> None:
    tenants.create("a")
    key, _ = tenants.api_keys.create("a")
    forged = _with_id(new_key(), key.id)
    assert well_formed(forged)
    assert tenants.api_keys.authenticate(forged) is None


def _with_id(text: str, key_id: str) -> str:
    from farm.tenants.api_keys import _checksum  # the only way to make a forgery that gets as far as Redis

    body = f"wf_live_{key_id}{text[16:44]}"
    return f"{body}_{_checksum(body)}"


@given(st.text(max_size=60))
def test_noise_is_no_key(text: str) -> None:
    assert not well_formed(text)


@given(st.integers(0, 50), st.sampled_from("0aZ_-"))
def test_a_typo_is_seen_without_asking(at: int, char: str) -> None:
    key = new_key()
    typo = key[:at] + char + key[at + 1 :]
    assert well_formed(key)
    assert well_formed(typo) == (typo == key)


def test_no_redis_is_said_as_such(settings: Settings) -> None:
    with Redis(port=1, retry=None, decode_responses=True) as away:
        with pytest.raises(Unavailable):
            Tenants(away, settings).list()
        with pytest.raises(Unavailable):
            Tenants(away, settings).api_keys.authenticate(new_key())
