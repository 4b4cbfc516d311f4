"""The two client programs printed in the self-hosted document run against the farm: address and key are changed, no
other character of the Python one, and of the TypeScript one only what plain JavaScript does not have."""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from farm.config import GatewaySettings, RedisSettings, S3Settings, Settings
from farm.ledger import Ledger, connect
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from tests.api.api_parts import POOL, TINY, VIDEO, Hand
from tests.api.gateway_process import Gateway, running
from tests.conftest import empty
from tests.seed_texts import text

pytestmark = pytest.mark.xdist_group("selfhosted-clients")

ADDRESS, KEY = "http://<your-server-ip>:8000", "<your-api-key>"


@pytest.fixture
def farm(redis_port: int, s3_server: S3Settings, tmp_path: Path) -> Settings:
    empty(redis_port)
    urls = {"ledger_url": f"redis://127.0.0.1:{redis_port}/0", "broker_url": f"redis://127.0.0.1:{redis_port}/1"}
    return Settings(
        state_dir=tmp_path / "state", redis=RedisSettings(**urls), s3=s3_server, gateway=GatewaySettings(processes=1)
    )


@pytest.fixture
def gateway(farm: Settings, tmp_path: Path) -> Iterator[Gateway]:
    with running(farm, tmp_path) as one:
        yield one


@pytest.fixture
def key(farm: Settings) -> str:
    with connect(farm.redis) as redis:
        tenants = Tenants(redis, farm)
        tenants.create("alice")
        return tenants.api_keys.create("alice")[1]


@pytest.fixture
def rendering(farm: Settings) -> Iterator[None]:
    """Whatever is queued is finished at once."""
    with connect(farm.redis) as redis:
        hand, done = Hand(Ledger(redis, farm), Store(farm.s3)), threading.Event()
        hand.offer(TINY)

        def work() -> None:
            # the ledger has nothing to wait on but permits, and these are another process' business
            while not done.wait(0.1):
                if claim := hand.ledger.claim(POOL, hand.name):
                    hand.finish(claim)

        thread = threading.Thread(target=work)
        thread.start()
        yield
        done.set()
        thread.join()


def program(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)\n```", text("selfhosted"), re.DOTALL)
    assert ADDRESS in found
    assert KEY in found
    return str(found)


def javascript(typescript: str) -> str:
    """Without the types of declarations: `let x: string | null = null` -> `let x = null`."""
    return re.sub(r"\b(let|const) (\w+): [^=]+? =", r"\1 \2 =", typescript)


def test_both_client_programs_run(gateway: Gateway, key: str, rendering: None, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("the Node program needs node on PATH")
    sources = {"client.py": program("python"), "client.mjs": javascript(program("typescript"))}
    for name, source in sources.items():
        (tmp_path / name).write_text(source.replace(ADDRESS, gateway.url).replace(KEY, key))
    # both poll every ten seconds, so they run side by side
    environment = {"PATH": "/usr/bin:/bin", "NO_PROXY": "*"}
    children = [
        subprocess.Popen(
            [interpreter, tmp_path / name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for interpreter, name in ((sys.executable, "client.py"), (node, "client.mjs"))
    ]
    for child in children:
        out, error = child.communicate(timeout=90)
        assert child.returncode == 0, error
        assert out.startswith("Video ready: http"), error
        assert httpx.get(out.removeprefix("Video ready:").strip()).content == VIDEO


def test_only_types_go() -> None:
    before, after = program("typescript"), javascript(program("typescript"))
    assert before.replace("video_url: string | null =", "video_url =") == after
