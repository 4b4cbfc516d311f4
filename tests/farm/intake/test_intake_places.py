"""Who may have a file looked at now: nobody waits for a place, and no tenant has them all."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import farm.intake.intake
from farm.config import Settings
from farm.embedded import samples
from farm.intake.intake import Intake
from farm.jobs.draft import Source
from farm.jobs.errors import TooMany
from farm.scheduling.places import TenantPlaces
from farm.storage.store import Store
from tests.conftest import wait_until


class Looks:
    """Looks at files that were begun; none ends before `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go = 0, threading.Event()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    looks, real = Looks(), farm.intake.intake.check

    def check(*args: Any) -> Any:
        looks.begun += 1
        looks.go.wait(90)
        return real(*args)

    monkeypatch.setattr(farm.intake.intake, "check", check)
    yield looks
    looks.go.set()


def test_a_tenant_that_has_its_places_is_told_so_and_the_next_one_gets_one(settings: Settings, slow: Looks) -> None:
    places = TenantPlaces(4)
    intake, done = Intake(settings, Store(settings.s3), decodes=places), list[str]()

    def look(tenant: str) -> None:
        intake.look(tenant, "image", Source(data=samples.picture()), field="image").close()
        done.append(tenant)

    held = [threading.Thread(target=look, args=("mallory",)) for _ in range(2)]
    for one in held:
        one.start()
    wait_until(lambda: slow.begun == 2, what="both of its places taken")
    with pytest.raises(TooMany):
        look("mallory")
    other = threading.Thread(target=look, args=("victim",))
    other.start()
    slow.go.set()
    for one in (*held, other):
        one.join(20)
    assert sorted(done) == ["mallory", "mallory", "victim"]
    look("mallory")


def test_fetches_have_places_per_tenant(settings: Settings) -> None:
    few = settings.model_copy(update={"intake": settings.intake.model_copy(update={"sync_fetches": 2})})
    intake = Intake(few, Store(settings.s3))
    with (
        intake.fetch_slot("mallory") as first,
        intake.fetch_slot("mallory") as second,
        intake.fetch_slot("victim") as it,
    ):
        assert (first, second, it) == (True, False, True)
    with intake.fetch_slot("mallory") as again:
        assert again
