"""The doctor in front of S3 servers: a good one, and one for each promise that can be broken."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import pytest
from minio import Minio

from farm.config import S3Settings
from farm.doctor import s3_checks
from farm.doctor.finding import Level
from farm.embedded.ports import free_port
from farm.embedded.readiness import front_answers
from farm.embedded.s3_front import run
from tests.conftest import wait_until
from tests.farm.doctor import lying_store
from tests.farm.doctor.lying_store import Lie, lying

PAGES = "https://app.example.com"


@pytest.fixture(scope="module")
def good(s3_server: S3Settings) -> Iterator[S3Settings]:
    """The embedded server as `wanfarm up` runs it."""
    port, loop = free_port(), asyncio.new_event_loop()
    task = loop.create_task(run("127.0.0.1", port, int(s3_server.endpoint.rpartition(":")[2]), (PAGES,)))

    def serve() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        # connections that nobody has closed yet
        while left := asyncio.all_tasks(loop):
            for one in left:
                one.cancel()
            loop.run_until_complete(asyncio.wait(left))

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = f"127.0.0.1:{port}"
    wait_until(front_answers(endpoint), what="the front to listen")
    yield s3_server.model_copy(update={"endpoint": endpoint})
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


def levels(settings: S3Settings, *origins: str) -> dict[str, Level]:
    return {one.check: one.level for one in s3_checks.examine(settings, origins)}


def test_a_good_server_has_no_fault_and_keeps_nothing_of_it(good: S3Settings) -> None:
    found = levels(good, PAGES)
    assert set(found.values()) == {Level.OK}, found
    assert len(found) == 15
    sdk = Minio(good.endpoint, good.access_key, good.secret_key, secure=False, region=good.region)
    assert list(sdk.list_objects(good.bucket, "doctor/", recursive=True)) == []


def test_a_server_without_ranges_and_preflights(s3_server: S3Settings) -> None:
    """rclone alone is one."""
    found = levels(s3_server, PAGES)
    assert {check: level for check, level in found.items() if level is not Level.OK} == {
        "s3.ranges": Level.ERROR,
        "s3.browsers": Level.WARNING,
    }


def test_what_stands_in_front_breaks_nothing_by_itself(good: S3Settings) -> None:
    with lying(good) as honest:
        found = {one.check: one for one in s3_checks.examine(honest)}
    assert {one.level for one in found.values()} == {Level.OK}, found


@pytest.mark.parametrize(
    "told",
    [
        {
            lying_store.any_upload: {"s3.upload-size", "s3.upload-expiry"},
            lying_store.wrong_clock: {"s3.clock"},
            lying_store.backwards: {"s3.listing"},
            lying_store.open_to_everybody: {"s3.private"},
            lying_store.open_for_ever: {"s3.expiry"},
        },
        {
            lying_store.forbidden_when_missing: {"s3.missing"},
            lying_store.spoilt: {"s3.objects"},
            lying_store.no_signatures: {"s3.presigned-get", "s3.presigned-put", "s3.ranges"},
        },
    ],
)
def test_each_broken_promise_is_told_and_no_other(good: S3Settings, told: dict[Lie, set[str]]) -> None:
    with lying(good, *told) as liar:
        faults = [one for one in s3_checks.examine(liar) if one.level is Level.ERROR]
    assert {one.check for one in faults} == set().union(*told.values())
    assert all(one.todo for one in faults)


def test_a_server_that_is_away_or_refuses_our_keys(good: S3Settings) -> None:
    def only(**changes: str) -> s3_checks.Finding:
        (found,) = s3_checks.examine(good.model_copy(update=changes))
        assert found.level is Level.ERROR
        return found

    assert "Connection refused" in only(endpoint=f"127.0.0.1:{free_port()}").text
    assert "secret_key" in (only(secret_key="wrong").todo or "")
    assert "access_key" in (only(access_key="stranger").todo or "")


def test_keys_that_everybody_knows(good: S3Settings) -> None:
    assert s3_checks.keys(S3Settings()).level is Level.WARNING
    assert s3_checks.keys(good).level is Level.OK
