"""SIGKILL in the middle of admitting a batch, of an act on its jobs, and of its zip: all of it is there, or nothing."""

import contextlib
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import preloaded
import psutil
import pytest
from own_redis import redis_command
from redis import Redis
from redis.exceptions import RedisError

from farm.batches.acts import new_act_id
from farm.claiming.permits import Permits
from farm.config import BatchSettings, GatewaySettings, RedisSettings, S3Settings, Settings
from farm.embedded.ports import free_port
from farm.io_worker.batch_keeper import keeper_of
from farm.jobs.batch import ActKind, BatchState
from farm.jobs.errors import Unavailable
from farm.jobs.states import State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, SwitchKind, connect
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from tests.api.api_parts import TINY, Hand
from tests.api.gateway_process import Gateway, running
from tests.conftest import wait_until

SHOTS = [pytest.param(2_000, id="2000"), pytest.param(100_000, id="100000", marks=pytest.mark.soak)]
SMALL = {"model": TINY, "width": 128, "height": 128, "frames": 9, "steps": 2}

pytestmark = pytest.mark.timeout(600)


class KillableFarm:
    """A Redis, a gateway, and a tenant with credit for each test."""

    def __init__(self, folder: Path, s3: S3Settings) -> None:
        self.folder, self.port = folder, free_port()
        urls = {"ledger_url": f"redis://127.0.0.1:{self.port}/0", "broker_url": f"redis://127.0.0.1:{self.port}/1"}
        self.settings = Settings(
            state_dir=folder / "state",
            redis=RedisSettings(**urls),
            s3=s3,
            batches=BatchSettings(chunk=20, abandoned_s=0.5),
            gateway=GatewaySettings(processes=1),
            prices={"per_second": {TINY: {"128p": 7.0, "480p": 7.0}}},  # type: ignore[arg-type]
        )
        self.settings.state_dir.mkdir(parents=True)
        self.start_redis()
        self.redis = connect(self.settings.redis)
        self.ledger = Ledger(self.redis, self.settings)
        self.gateway: Gateway
        self.tenant = self.key = ""

    def begin(self, tenant: str) -> None:
        """From here on it is about a new tenant."""
        self.tenant = tenant
        self.ledger.worker_seen("w", "default", WorkerStatus(models=(TINY,), device="cpu"), ttl_s=60)
        tenants = Tenants(self.redis, self.settings)
        tenants.create(tenant)
        self.key = tenants.api_keys.create(tenant)[1]
        self.ledger.topup(tenant, 10**15)

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

        wait_until(look, what="nothing to come in")

    def audited(self) -> dict[str, int]:
        drift: dict[str, int] = {}
        report = self.ledger.audit()
        while report.cursor is not None:
            drift |= report.drift
            report = self.ledger.audit(report.cursor)
        return drift | report.drift

    @contextmanager
    def keeper(self) -> Iterator[subprocess.Popen[bytes]]:
        """The io worker's part, in a process of its own."""
        told = self.folder / "settings.json"
        told.write_text(self.settings.model_dump_json())
        process = preloaded.Popen([sys.executable, Path(__file__).with_name("io_keeper.py"), told])
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Settings) -> Iterator[KillableFarm]:
    farm = KillableFarm(tmp_path_factory.mktemp("killable"), s3_server)
    try:
        with running(farm.settings, tmp_path_factory.mktemp("gateway"), patience_s=120) as farm.gateway:
            yield farm
    finally:
        farm.redis.close()
        farm.kill_redis()


@pytest.fixture
def farm(killable: KillableFarm, request: pytest.FixtureRequest) -> KillableFarm:
    killable.begin(re.sub("[^a-z0-9]+", "-", request.node.name).strip("-")[-30:].strip("-"))
    return killable


def manifest(shots: int) -> bytes:
    return "".join(json.dumps({"prompt": f"shot {n}", **SMALL}) + "\n" for n in range(shots)).encode()


class Request:
    """A POST /v1/batches that goes on in a thread; `answer` is None when it broke."""

    def __init__(self, farm: KillableFarm, shots: int) -> None:
        self.answer: httpx.Response | None = None
        wait_until(farm.gateway.answers, what="the gateway")
        self._thread = threading.Thread(target=self._send, args=(farm.gateway.url, farm.key, shots))
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
    counts, account = farm.ledger.counts(farm.tenant), farm.ledger.credit(farm.tenant)
    assert account is not None
    there = farm.ledger.batch_ids(farm.tenant, limit=2)
    assert counts[State.QUEUED] == (shots if there else 0), counts
    jobs = farm.ledger.page(farm.tenant, limit=1).jobs
    assert account.held == (shots * (jobs[0].hold or 0) if there else 0)
    assert answer is None or answer.status_code != 201 or there
    assert farm.audited() == {}
    return bool(there)


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("stage", [BatchState.STAGING, BatchState.PLACING])
def test_of_the_gateway(farm: KillableFarm, stage: BatchState, shots: int) -> None:
    request = Request(farm, shots)
    wait_until(lambda: farm.state() is stage, what=f"a batch that is {stage}")
    # gunicorn itself starts another
    for worker in psutil.Process(farm.gateway.process.pid).children():
        worker.kill()
    assert all_or_nothing(farm, shots, request.over()) is (stage is BatchState.PLACING)


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("stage", [BatchState.STAGING, BatchState.PLACING])
def test_of_redis(farm: KillableFarm, stage: BatchState, shots: int) -> None:
    request = Request(farm, shots)

    def begun() -> bool:
        # others see an admission a moment before the file has it; its jobs are placed once it was acknowledged
        return farm.state() is stage and (
            stage is BatchState.STAGING or farm.ledger.counts(farm.tenant)[State.QUEUED] > 0
        )

    wait_until(begun, what=f"a batch that is {stage}")
    farm.kill_redis()
    answer = request.over()
    farm.start_redis()
    # what was staged when Redis died may be gone, and the batch with it; what was admitted is not
    assert all_or_nothing(farm, shots, answer) or stage is BatchState.STAGING


@pytest.mark.parametrize("shots", SHOTS)
def test_of_the_io_worker_under_an_act(farm: KillableFarm, shots: int) -> None:
    answer = Request(farm, shots).over()
    assert answer is not None
    assert answer.status_code == 201, answer.text
    batch_id = answer.json()["id"]
    assert farm.ledger.begin_act(new_act_id(), farm.tenant, batch_id, ActKind.CANCEL)

    def cancelled() -> int:
        found = farm.ledger.batch(farm.tenant, batch_id)
        assert found is not None
        return found.counts[State.CANCELLED]

    with farm.keeper() as keeper:
        wait_until(cancelled, what="the act to begin")
        keeper.kill()
        keeper.wait()
        left = cancelled()
    with farm.keeper():
        wait_until(lambda: not farm.ledger.acts_open(), what="the act to end")
    assert 0 < left <= shots
    assert cancelled() == shots
    assert farm.ledger.acts([batch_id])[0][0].changed == shots
    account = farm.ledger.credit(farm.tenant)
    assert account is not None
    assert account.held == 0


def asked_for_by_a_file(farm: KillableFarm, shots: int) -> str:
    """A batch of OpenAI's form, which the io worker admits."""
    line = '{{"custom_id": "shot-{0}", "method": "POST", "url": "/v1/jobs", "body": {1}}}\n'
    lines = "".join(line.format(n, json.dumps({"prompt": f"shot {n}", **SMALL})) for n in range(shots))
    headers = {"Authorization": f"Bearer {farm.key}"}
    with httpx.Client(base_url=farm.gateway.url, headers=headers, timeout=120) as client:
        files = {"file": ("shots.jsonl", lines.encode())}
        file = client.post("/v1/files", data={"purpose": "batch"}, files=files).raise_for_status().json()
        given = {"input_file_id": file["id"], "endpoint": "/v1/jobs", "completion_window": "24h"}
        return str(client.post("/v1/batches", json=given).raise_for_status().json()["id"])


@pytest.mark.parametrize("shots", SHOTS)
@pytest.mark.parametrize("stage", [BatchState.STAGING, BatchState.PLACING])
def test_of_the_io_worker_that_admits(farm: KillableFarm, stage: BatchState, shots: int) -> None:
    """The next one admits the whole batch, once."""
    wait_until(farm.gateway.answers, what="the gateway")
    batch_id = asked_for_by_a_file(farm, shots)
    with farm.keeper() as keeper:
        wait_until(lambda: farm.state() is stage, what=f"a batch that is {stage}")
        keeper.kill()
        keeper.wait()
    found = farm.ledger.batch(farm.tenant, batch_id)
    assert (found is not None) is (stage is BatchState.PLACING)
    with farm.keeper():
        wait_until(lambda: not farm.ledger.batches_asked(), 300, what="the batch to be admitted")
    assert all_or_nothing(farm, shots, None)
    assert farm.ledger.batch_ids(farm.tenant, limit=2) == [batch_id]


@pytest.mark.parametrize("killed", ["gateway", "redis"])
def test_in_the_middle_of_a_zip(farm: KillableFarm, killed: str) -> None:
    answer = Request(farm, 2).over()
    assert answer is not None
    store = Store(farm.settings.s3)
    # what the tests before left in the queues is not what this one renders
    for other in Tenants(farm.redis, farm.settings).list():
        if other.id != farm.tenant:
            farm.ledger.pause(SwitchKind.TENANT, other.id, who="test", why="over")
    hand, large = Hand(farm.ledger, store, "w"), b"x" * (12 << 20)
    for _ in range(2):
        claim = hand.claim()
        hand.finish(claim)
        job = farm.ledger.find(claim.job.id)
        assert job is not None
        assert job.artifacts is not None
        store.put_bytes(job.artifacts.video, large, "video/mp4")
    url = f"{farm.gateway.url}/v1/batches/{answer.json()['id']}/results.zip"
    headers = {"Authorization": f"Bearer {farm.key}"}
    with httpx.stream("GET", url, headers=headers, timeout=60) as sent:
        blocks = sent.iter_raw()
        next(blocks)
        if killed == "redis":
            farm.kill_redis()
        else:
            for worker in psutil.Process(farm.gateway.process.pid).children():
                worker.kill()
        # what was sent by then is no zip that looks whole
        with pytest.raises(httpx.TransportError):
            for _ in blocks:
                pass
    if killed == "redis":
        farm.start_redis()
    wait_until(farm.gateway.answers, what="the gateway")
    whole = io.BytesIO()

    def fetched() -> bool:
        whole.seek(0)
        again = httpx.get(url, headers=headers, timeout=60)
        whole.write(again.content)
        return again.status_code == 200

    wait_until(fetched, what="a zip once more")
    with zipfile.ZipFile(whole) as archive:
        assert archive.testzip() is None
        assert [one.file_size for one in archive.infolist()][:2] == [len(large)] * 2
        assert len(archive.read("results.ndjson").splitlines()) == 2
    assert farm.audited() == {}
