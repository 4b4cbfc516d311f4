"""SIGKILL in the middle of admitting a batch, and of an act on its jobs: all of it is there, or nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from own_redis import redis_command
from redis import Redis
from redis.exceptions import RedisError

from farm.batches.acts import new_act_id
from farm.claiming.permits import Permits
from farm.config import BatchSettings, RedisSettings, S3Settings, Settings
from farm.embedded.ports import free_port
from farm.io_worker.batch_keeper import keeper_of
from farm.jobs.batch import ActKind, BatchState
from farm.jobs.errors import Unavailable
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, connect
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from tests.api.api_parts import TINY
from tests.api.gateway_process import running
from tests.conftest import wait_until

SHOTS = [pytest.param(2_000, id="2000"), pytest.param(100_000, id="100000", marks=pytest.mark.soak)]
SMALL = {"model": TINY, "width": 128, "height": 128, "frames": 9, "steps": 2}

pytestmark = pytest.mark.timeout(600)


class KillableFarm:
    """A Redis and a tenant with credit; gateway and keeper are started where a test kills them."""

    def __init__(self, folder: Path, s3: S3Settings) -> None:
        self.folder, self.port = folder, free_port()
        urls = {"ledger_url": f"redis://127.0.0.1:{self.port}/0", "broker_url": f"redis://127.0.0.1:{self.port}/1"}
        self.settings = Settings(
            state_dir=folder / "state",
            redis=RedisSettings(**urls),
            s3=s3,
            batches=BatchSettings(chunk=20, abandoned_s=0.5),
            prices={"per_second": {TINY: {"128p": 7.0, "480p": 7.0}}},  # type: ignore[arg-type]
        )
        self.settings.state_dir.mkdir(parents=True)
        self.start_redis()
        self.redis = connect(self.settings.redis)
        self.ledger = Ledger(self.redis, self.settings)
        self.ledger.worker_seen("w", "default", WorkerStatus(models=(TINY,), device="cpu"), ttl_s=60)
        tenants = Tenants(self.redis, self.settings)
        tenants.create("alice")
        self.key = tenants.api_keys.create("alice")[1]
        self.ledger.topup("alice", 10**15)

    def start_redis(self) -> None:
        command = redis_command(self.folder / "redis", self.port)
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._answers, what="a Redis")

    def _answers(self) -> bool:
        with Redis(port=self.port) as redis, contextlib.suppress(RedisError):
            return bool(redis.ping())
        return False

    def kill_redis(self) -> None:
        self.process.kill()
        self.process.wait()

    def state(self) -> BatchState | None:
        """Of the batch that is coming in."""
        coming = self.ledger.batches_coming()
        return coming[0][1] if coming else None

    def settled(self) -> None:
        """What the io worker does until nothing comes in any more."""
        keeper = keeper_of(self.settings, self.redis, self.ledger, Store(self.settings.s3), Permits(self.settings))

        def look() -> bool:
            with contextlib.suppress(Unavailable):
                keeper.look()
                return not self.ledger.batches_coming()
            return False

        wait_until(look, 120, what="nothing to come in")

    def audited(self) -> dict[str, int]:
        drift: dict[str, int] = {}
        report = self.ledger.audit(None, 5000)
        while report.cursor is not None:
            drift |= report.drift
            report = self.ledger.audit(report.cursor, 5000)
        return drift | report.drift

    @contextmanager
    def keeper(self) -> Iterator[subprocess.Popen[bytes]]:
        """The io worker's part, in a process of its own."""
        told = self.folder / "settings.json"
        told.write_text(self.settings.model_dump_json())
        process = subprocess.Popen([sys.executable, Path(__file__).with_name("io_keeper.py"), told])
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def farm(tmp_path: Path, s3_server: S3Settings) -> Iterator[KillableFarm]:
    farm = KillableFarm(tmp_path, s3_server)
    yield farm
    farm.redis.close()
    farm.kill_redis()


def manifest(shots: int) -> bytes:
    return "".join(json.dumps({"prompt": f"shot {n}", **SMALL}) + "\n" for n in range(shots)).encode()


class Request:
    """A POST /v1/batches that goes on in a thread; `answer` is None when it broke."""

    def __init__(self, url: str, key: str, shots: int) -> None:
        self.answer: httpx.Response | None = None
        self._thread = threading.Thread(target=self._send, args=(url, key, shots))
        self._thread.start()

    def _send(self, url: str, key: str, shots: int) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        with contextlib.suppress(httpx.HTTPError):
            self.answer = httpx.post(f"{url}/v1/batches", content=manifest(shots), headers=headers, timeout=300)

    def over(self) -> httpx.Response | None:
        self._thread.join()
        return self.answer


def all_or_nothing(farm: KillableFarm, shots: int, answer: httpx.Response | None) -> bool:
    """Whether all of it is there. What was answered must be."""
    farm.settled()
    counts, account = farm.ledger.counts("alice"), farm.ledger.credit("alice")
    assert account is not None
    there = farm.ledger.batch_ids("alice", limit=2)
    assert counts[State.QUEUED] == (shots if there else 0), counts
    jobs = farm.ledger.page("alice", limit=1).jobs
    assert account.held == (shots * (jobs[0].hold or 0) if there else 0)
    assert answer is None or answer.status_code != 201 or there
    assert farm.audited() == {}
    return bool(there)


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("stage", [BatchState.STAGING, BatchState.PLACING])
def test_of_the_gateway(farm: KillableFarm, tmp_path: Path, stage: BatchState, shots: int) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired), running(farm.settings, _made(tmp_path)) as gateway:
        request = Request(gateway.url, farm.key, shots)
        wait_until(lambda: farm.state() is stage, 120, what=f"a batch that is {stage}")
        for pid in _below(gateway.process.pid):
            os.kill(pid, signal.SIGKILL)
        answer = request.over()
    assert all_or_nothing(farm, shots, answer) is (stage is BatchState.PLACING)


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("stage", [BatchState.STAGING, BatchState.PLACING])
def test_of_redis(farm: KillableFarm, tmp_path: Path, stage: BatchState, shots: int) -> None:
    with running(farm.settings, _made(tmp_path)) as gateway:
        request = Request(gateway.url, farm.key, shots)
        wait_until(lambda: farm.state() is stage, 120, what=f"a batch that is {stage}")
        farm.kill_redis()
        answer = request.over()
        farm.start_redis()
        # what was staged when Redis died may be gone, and the batch with it; what was admitted is not
        assert all_or_nothing(farm, shots, answer) or stage is BatchState.STAGING


@pytest.mark.parametrize("shots", SHOTS)
def test_of_the_io_worker_under_an_act(farm: KillableFarm, tmp_path: Path, shots: int) -> None:
    with running(farm.settings, _made(tmp_path)) as gateway:
        answer = Request(gateway.url, farm.key, shots).over()
    assert answer is not None
    assert answer.status_code == 201, answer.text
    batch_id = answer.json()["id"]
    assert farm.ledger.begin_act(new_act_id(), "alice", batch_id, ActKind.CANCEL)

    def cancelled() -> int:
        found = farm.ledger.batch("alice", batch_id)
        assert found is not None
        return found.counts[State.CANCELLED]

    with farm.keeper() as keeper:
        wait_until(cancelled, 60, what="the act to begin")
        keeper.kill()
        keeper.wait()
        left = cancelled()
    with farm.keeper():
        wait_until(lambda: not farm.ledger.acts_open(), 120, what="the act to end")
    assert 0 < left <= shots
    assert cancelled() == shots
    assert farm.ledger.acts([batch_id])[0][0].changed == shots
    account = farm.ledger.credit("alice")
    assert account is not None
    assert account.held == 0


def _made(folder: Path) -> Path:
    (folder / "gateway").mkdir()
    return folder / "gateway"


def _below(pid: int) -> list[int]:
    """A process and all that it started, the last first."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [*(one for child in listed.stdout.split() for one in _below(int(child))), pid]
