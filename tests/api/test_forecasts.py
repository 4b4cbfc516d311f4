"""What a queued job is told of its start and its end."""

from collections.abc import Callable

import pytest

from api.services import Services
from farm.io_worker.forecasting import Forecasting
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import SwitchKind
from tests.api.api_parts import POOL, TINY, Caller
from tests.api.batch_api_parts import ndjson, send

OTHER = "wan2.2-t2v-a14b-tiny"


def test_a_queued_job_shows_when_it_is_expected_to_start_and_to_end(
    alice: Caller, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.forecasts._FRESH_S", 0.0)
    _first, second, third = (alice.submit() for _ in range(3))
    assert second["forecast"] is second["eta_s"] is None
    pool = alice.get(f"/v1/jobs/{third['id']}/explain").json["pool"]
    parts.ledger.worker_seen("w", pool, WorkerStatus(models=(TINY,)), ttl_s=60)
    Forecasting(parts.ledger).refresh()
    told = alice.get(f"/v1/jobs/{third['id']}/explain").json["forecast"]
    assert told["start_from"] < told["start"] < told["start_until"] < told["finish_until"]
    listed = {job["id"]: job for job in alice.get("/v1/jobs").json["data"]}
    assert listed[third["id"]]["eta_s"] > listed[third["id"]]["predicted_s"]
    # who comes later starts later
    fourth = alice.submit()
    assert fourth["forecast"]["start"] > listed[third["id"]]["forecast"]["start"]
    # of a model that no live worker renders any more nothing is foretold
    monkeypatch.setattr("farm.scheduling.pools._FRESH_S", 0.0)
    parts.ledger.worker_seen("other", pool, WorkerStatus(models=(OTHER,)), ttl_s=60)
    paths = [f"/v1/jobs/{job}" for job in (alice.submit(model=OTHER)["id"], fourth["id"])]
    Forecasting(parts.ledger).refresh()
    assert [bool(alice.get(path).json["forecast"]) for path in paths] == [True, True]
    parts.ledger.worker_gone("other", pool)
    assert [bool(alice.get(path).json["forecast"]) for path in paths] == [False, True]
    assert [bool(alice.get(f"{path}/explain").json["forecast"]) for path in paths] == [False, True]


LOCK: dict[str, Callable[[Services], object]] = {
    "locked": lambda parts: parts.ledger.pause(SwitchKind.WORKER, "other", who="op", why="a test"),
    "memory": lambda parts: parts.ledger.worker_seen(
        "other",
        POOL,
        WorkerStatus(models=(OTHER,), memory={"device_bytes": 1e6, "host_bytes": 1e6, "fp8": False}),
        ttl_s=60,
    ),
    "lane": lambda parts: (
        parts.ledger.worker_gone("other", POOL),
        parts.ledger.worker_seen("other", "elsewhere", WorkerStatus(models=(OTHER,)), ttl_s=60),
    ),
}


@pytest.mark.parametrize("binds", LOCK)
def test_nothing_is_foretold_of_a_job_that_no_worker_of_its_pool_takes(
    binds: str, alice: Caller, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the pool's other workers go on, and another pool could render it."""
    for name in ("api.forecasts._FRESH_S", "farm.scheduling.pools._FRESH_S"):
        monkeypatch.setattr(name, 0.0)
    parts.ledger.worker_seen("w", POOL, WorkerStatus(models=(TINY,)), ttl_s=60)
    parts.ledger.worker_seen("other", POOL, WorkerStatus(models=(OTHER,)), ttl_s=60)
    batch = send(alice, ndjson({"prompt": "a fox", "model": OTHER})).json["id"]  # type: ignore[index]
    job = alice.get(f"/v1/batches/{batch}/jobs").json["data"][0]["id"]  # type: ignore[index]
    free = alice.submit(model=TINY)["id"]
    Forecasting(parts.ledger).refresh()

    def told(job_id: str) -> list[bool]:
        paths = (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/explain")
        return [bool(alice.get(path).json["forecast"]) for path in paths]  # type: ignore[index]

    def ends() -> bool:
        return bool(alice.get(f"/v1/batches/{batch}").json["finish_at"])  # type: ignore[index]

    assert (told(job), told(free), ends()) == ([True, True], [True, True], True)
    LOCK[binds](parts)
    assert (told(job), told(free), ends()) == ([False, False], [True, True], False)
    assert alice.get(f"/v1/jobs/{job}/explain").json["binds"] == binds  # type: ignore[index]
    assert alice.get(f"/v1/jobs/{job}").json["eta_s"] is None  # type: ignore[index]
