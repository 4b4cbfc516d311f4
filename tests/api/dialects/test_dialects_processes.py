"""A wiro task through real processes: gunicorn with its socket, the io worker that fetches the picture, beat, and the
webhook that says how it ended. Only the GPU worker's moves are made by hand."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import preloaded
from dialect_parts import I2V, SLUG, Worker
from receiver import Receiver
from redis import Redis
from simple_websocket import Client as Socket
from simple_websocket import ConnectionClosed

from farm.config import CONFIG_ENV, Settings
from farm.embedded.settings_file import render
from farm.jobs.states import State
from farm.ledger import Ledger
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from farm.wire import wiro_socket, wiro_task
from tests.api.api_parts import VIDEO
from tests.api.gateway_process import running
from tests.conftest import wait_until

Receivers = Callable[..., Receiver]


@contextlib.contextmanager
def io_worker(settings: Settings, folder: Path) -> Iterator[None]:
    """The io worker with beat inside, on the settings of the gateway."""
    (settings.state_dir / "beat").mkdir(parents=True, exist_ok=True)
    config, log = folder / "io.toml", folder / "io.log"
    config.write_text(render(settings))
    command = [sys.executable, "-m", "celery", "-A", "farm.io_worker.app", "worker", "-B", "-P", "threads", "-c", "4"]
    command += ["-Q", "pool.intake,beat", "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("wb") as out:
        process = preloaded.Popen(command, env=os.environ | {CONFIG_ENV: str(config)}, stdout=out, stderr=out)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_task_from_run_to_webhook(
    settings: Settings, redis: Redis, tmp_path: Path, files: str, receivers: Receivers
) -> None:
    settings = settings.model_copy(
        update={
            "state_dir": tmp_path / "state",
            "gateway": settings.gateway.model_copy(update={"processes": 1, "threads": 6}),
            "webhooks": settings.webhooks.model_copy(update={"every_s": 0.2}),
        }
    )
    ledger, tenants = Ledger(redis, settings), Tenants(redis, settings)
    tenants.create("alice")
    key = {"x-api-key": tenants.api_keys.create("alice")[1]}
    worker, receiver = Worker(ledger, Store(settings.s3)), receivers()
    worker.offer(I2V)
    with running(settings, tmp_path) as gateway, io_worker(settings, tmp_path):
        asked = {"inputImageUrl": f"{files}/character.png", "prompt": "wave", "callbackUrl": receiver.url}
        made = httpx.post(f"{gateway.url}/v1/Run/{SLUG}", json=asked, headers=key).json()
        assert made["result"] is True, made
        socket = Socket.connect(gateway.url.replace("http://", "ws://") + "/v1")
        socket.send(wiro_socket.render_registration(made["socketaccesstoken"]))
        (job,) = ledger.page("alice").jobs
        wait_until(lambda: ledger.get("alice", job.id).state is State.QUEUED, what="intake")
        claim = worker.claim()
        assert claim.job.spec.inputs["image"].stored
        worker.progress(claim, 1, 4)
        worker.finish(claim)
        heard = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                heard.append(json.loads(socket.receive(timeout=90))["type"])
        assert list(dict.fromkeys(heard)) == list(wiro_task.ORDER)
        detail = httpx.post(f"{gateway.url}/v1/Task/Detail", json={"taskid": made["taskid"]}, headers=key).json()
        assert httpx.get(wiro_task.parse_status(detail).urls[0]).content == VIDEO
        wait_until(lambda: receiver.posts, what="the webhook")
        told = wiro_task.parse_callback(receiver.posts[0].json)
        assert (told.id, told.state) == (made["taskid"], State.SUCCEEDED)
