"""What many large requests leave in a gateway's process, when they are over."""

import http.client
import threading
from pathlib import Path

import pytest
from redis import Redis

from farm.config import GatewaySettings, Settings
from farm.tenants.tenants import Tenants
from tests.api import gateway_process
from tests.conftest import wait_until

#: large, and of many blocks that the allocator cannot map one by one
BODY = b'{"prompt":"p","a":[' + (b'"' + b"x" * 600 + b'",') * 20_000 + b'"1"]}'
CLIENTS, EACH = 16, 1
#: MB; with glibc's own habits the processes keep 400 more than they began with
MORE_MB = 120


def resident_mb(process: int) -> int:
    """Of gunicorn's workers."""
    workers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    pages = [int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in workers]
    return sum(pages) * 4096 >> 20


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux' /proc")
def test_large_requests_leave_no_memory_behind(settings: Settings, redis: Redis, tmp_path: Path) -> None:
    tenants = Tenants(redis, settings)
    tenants.create("acme")
    _, key = tenants.api_keys.create("acme")
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    gateway_settings = GatewaySettings(processes=1, threads=24)
    with gateway_process.running(settings.model_copy(update={"gateway": gateway_settings}), tmp_path) as gateway:

        def ask(body: bytes) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
            try:
                connection.request("POST", "/v1/jobs", body=body, headers=headers)
                return connection.getresponse().status
            except ConnectionError:
                # what is refused is read on for a while only
                return 503
            finally:
                connection.close()

        def client() -> None:
            served = 0
            while served < EACH:
                # 503: too many large ones at once
                served += ask(BODY) != 503

        assert ask(b"{}") == 422
        before = resident_mb(gateway.process.pid)
        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        assert ask(b"{}") == 422
        wait_until(lambda: resident_mb(gateway.process.pid) < before + MORE_MB, what="the memory to be given back")
