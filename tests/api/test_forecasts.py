"""What a queued job is told of its start and its end."""

import pytest

from api.services import Services
from farm.io_worker.forecasting import Forecasting
from farm.jobs.worker_status import WorkerStatus
from tests.api.api_parts import TINY, Caller

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
