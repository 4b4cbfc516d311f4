"""The io worker and beat as real processes: waiting jobs are taken in, expired leases are noticed, old things go."""

import http.server
import io
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from farm.config import IntakeSettings, Settings
from farm.embedded.ports import free_port
from farm.io_worker.housekeeping import Housekeeping
from farm.jobs.job import Fence
from farm.jobs.spec import InputRef
from farm.jobs.states import State
from farm.jobs.worker_status import LiveWorker
from farm.ledger.ledger import INTAKE_POOL
from farm.storage.object_keys import result_key
from farm.storage.store import READ_S
from tests.conftest import wait_until
from tests.e2e.blackhole import BlackHole
from tests.farm.agent.agent_farm import TENANT, AgentFarm, changed, farm_on

pytestmark = pytest.mark.xdist_group("io_worker")


@pytest.fixture(scope="module")
def pictures() -> Iterator[str]:
    """Address of a server that gives a PNG for every path but /none."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "PNG")

    class Pictures(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if self.path == "/none" else 200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def io_yard(farm_settings: Settings) -> Iterator[AgentFarm]:
    """A yard in which nobody but beat and the io worker keeps house."""
    settings = farm_settings.model_copy(
        update={
            "worker": farm_settings.worker.model_copy(update={"io_metrics_port": free_port()}),
            "intake": IntakeSettings(allow_networks=("127.0.0.0/8",)),
            "scheduling": farm_settings.scheduling.model_copy(update={"reap_every_s": 0.5, "audit_every_s": 0.5}),
        }
    )
    folder = settings.state_dir.parent
    (settings.state_dir / "beat").mkdir(parents=True)
    celery = [sys.executable, "-m", "celery", "-A", "farm.io_worker.app"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with farm_on(settings, folder, reaping=False) as farm:
        worker = [*celery, "worker", "-P", "threads", "-c", "8", "-Q", "pool.intake,beat", "-l", "INFO", *quiet]
        farm.io = farm.start(worker, "io")  # type: ignore[attr-defined]
        farm.start([*celery, "beat", "--pidfile", ""], "beat")
        wait_until(lambda: present(farm), what="the io worker")
        yield farm


def present(farm: AgentFarm) -> LiveWorker | None:
    return next((one for one in farm.ledger.workers() if one.pool == INTAKE_POOL), None)


def test_the_io_worker_serves_its_metrics(io_yard: AgentFarm) -> None:
    told = present(io_yard)
    assert told
    assert told.status.metrics == f"127.0.0.1:{io_yard.settings.worker.io_metrics_port}"
    with urllib.request.urlopen(f"http://{told.status.metrics}/metrics") as page:
        text = page.read()
    assert b"wanfarm_reaped_total" in text
    assert b"wanfarm_engine_up" not in text


def test_inputs_are_taken_in_before_any_engine_sees_the_job(io_yard: AgentFarm, pictures: str) -> None:
    jobs = [io_yard.submit("ok", inputs={"image": InputRef(url=f"{pictures}/{n}.png")}) for n in range(12)]
    bad = io_yard.submit("ok", inputs={"image": InputRef(url=f"{pictures}/none")})
    for job in jobs:
        ready = io_yard.wait_state(job, State.QUEUED)
        assert ready.spec.inputs["image"].stored
        assert ready.attempts_used == 0, "intake is no attempt at rendering"
    refused = io_yard.wait_over(bad)
    assert (refused.state, refused.error_code) == (State.FAILED, "input_unreachable")
    for job in jobs:
        io_yard.ledger.cancel(TENANT, job)


def test_the_io_worker_has_no_torch(io_yard: AgentFarm) -> None:
    facts = present(io_yard)
    assert facts
    assert facts.status.torch_loaded is False


def test_beat_notices_a_lease_that_ran_out(io_yard: AgentFarm) -> None:
    job = io_yard.submit("ok")
    claim = io_yard.ledger.claim("default", "nobody")
    assert claim
    assert claim.job.id == job
    io_yard.ledger.heartbeat(job, claim.attempt)  # one that nobody ever spoke for is no lost worker
    io_yard.wait_state(job, State.QUEUED)
    assert io_yard.job(job).worker_losses == 1
    io_yard.ledger.cancel(TENANT, job)


def test_a_silent_store_stops_no_duty_but_the_sweep(farm_settings: Settings, tmp_path: Path) -> None:
    """A sweep hung on the store, and audits waited for it in every thread: nothing was reaped."""
    real = int(farm_settings.s3.endpoint.rpartition(":")[2])
    with BlackHole(real) as hole:
        settings = changed(
            farm_settings,
            tmp_path,
            s3={"endpoint": f"127.0.0.1:{hole.port}"},
            redis={"prefix": "silent"},
            scheduling={"reap_every_s": 0.5, "audit_every_s": 1.0, "forget_every_s": 1.0},
        )
        (settings.state_dir / "beat").mkdir(parents=True)
        with farm_on(settings, tmp_path, reaping=False) as farm:
            hole.swallow()
            celery = [sys.executable, "-m", "celery", "-A", "farm.io_worker.app"]
            farm.start([*celery, "worker", "-P", "threads", "-c", "3", "-Q", "pool.intake,beat", "-l", "INFO"], "io")
            farm.start([*celery, "beat", "--pidfile", ""], "beat")
            # the third dial follows two reads that ran out, after two processes have started
            wait_until(lambda: hole.dialled > 2, 90.0 + 3 * READ_S, what="a sweep to hang on the store")
            for _ in range(3):
                job = farm.submit("ok")
                claim = farm.ledger.claim("default", "nobody")
                assert claim
                farm.wait_state(job, State.QUEUED)
                farm.ledger.cancel(TENANT, job)


def test_a_killed_io_worker_loses_nothing(io_yard: AgentFarm, pictures: str) -> None:
    io_yard.io.send_signal(signal.SIGKILL)  # type: ignore[attr-defined]
    io_yard.io.wait()  # type: ignore[attr-defined]
    job = io_yard.submit("ok", inputs={"image": InputRef(url=f"{pictures}/x.png")})
    command = [sys.executable, "-m", "celery", "-A", "farm.io_worker.app", "worker", "-P", "threads", "-c", "8"]
    io_yard.start([*command, "-Q", "pool.intake,beat", "--without-gossip", "--without-mingle"], "io")
    io_yard.wait_state(job, State.QUEUED)
    io_yard.ledger.cancel(TENANT, job)


def test_sweep_and_forget_leave_what_is_pointed_to(farm_settings: Settings, tmp_path: Path) -> None:
    """By hand, without waiting for beat, in a bucket of its own."""
    settings = changed(farm_settings, tmp_path, s3={"bucket": "swept"}, redis={"prefix": "swept"})
    with farm_on(settings, tmp_path) as farm:
        farm.store.ensure_bucket()
        farm.agent()
        kept, old = farm.committed(farm.submit("ok")), farm.committed(farm.submit("ok"))
        # an attempt that died between upload and commit; one that still runs; one of a job unknown to the ledger
        dead = result_key(TENANT, kept.id, 7, "video.mp4")
        running = farm.wait_state(farm.submit("hang"), State.RUNNING)
        live = result_key(TENANT, running.id, 1, "video.mp4")
        unknown = result_key(TENANT, "0" * 36, 1, "video.mp4")
        # a holder of the committed attempt whose claim Redis lost
        twin = result_key(TENANT, kept.id, Fence(kept.attempt, "lost"), "video.mp4")
        for key in (dead, live, unknown, twin):
            farm.store.put_bytes(key, b"x", "video/mp4")

        assert farm.house.sweep() == 2
        assert farm.store.stat(dead) is None
        assert farm.store.stat(twin) is None
        assert farm.store.stat(live)
        assert farm.store.stat(unknown), "a lost ledger must not cost the results too"
        farm.committed(kept.id)

        hasty_settings = changed(settings, tmp_path, scheduling={"retention_s": -1.0})
        hasty = Housekeeping(hasty_settings, farm.ledger, farm.store, farm.permits)
        assert hasty.forget() == 2
        assert farm.ledger.find(old.id) is None
        assert farm.objects(old.id) == []
        assert farm.job(running.id).state == State.RUNNING
        assert hasty.sweep() == 1
        assert farm.store.stat(unknown) is None
