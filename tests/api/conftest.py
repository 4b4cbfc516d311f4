"""A gateway on real parts, and tenants with keys."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from api.app import create_app
from api.services import Services
from farm.config import Settings
from farm.jobs.roles import Role
from farm.ledger import Ledger
from tests.api.api_parts import TINY, Caller, Hand


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Iterator[Flask]:
    made = create_app(settings)
    yield made
    made.extensions["wanfarm"].redis.close()


@pytest.fixture
def parts(app: Flask) -> Services:
    found = app.extensions["wanfarm"]
    assert isinstance(found, Services)
    return found


@pytest.fixture
def ledger(parts: Services) -> Ledger:
    return parts.ledger


@pytest.fixture
def caller(app: Flask, parts: Services) -> Callable[..., Caller]:
    """caller("studio-a", role="operator"): a tenant (made when it is not there) and a key of its own."""

    def make(tenant: str, role: str = Role.MEMBER, **limits: Any) -> Caller:
        if parts.tenants.get(tenant) is None:
            parts.tenants.create(tenant, **limits)
        return Caller(app.test_client(), tenant, parts.tenants.api_keys.create(tenant, role=role)[1])

    return make


@pytest.fixture
def hand(parts: Services) -> Hand:
    """A worker that offers the tiny model."""
    hand = Hand(parts.ledger, parts.store)
    hand.offer(TINY)
    # as an io worker or an agent does
    parts.ledger.reap()
    return hand


@pytest.fixture
def alice(caller: Callable[..., Caller], hand: Hand) -> Caller:
    return caller("alice")


@pytest.fixture
def bob(caller: Callable[..., Caller]) -> Caller:
    return caller("bob")
