"""A farm to measure: the real `wanfarm up` in a temporary folder, with an engine that costs nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w

from bench.report import checked_server
from farm.client import Client
from farm.config import Settings
from farm.embedded.folder import StateFolder
from farm.ledger.connection import connect
from farm.ledger.ledger import Ledger

ROOT = Path(__file__).parent.parent
SHOT = {"model": "wan2.2-t2v-a14b-tiny", "width": 64, "height": 64, "frames": 5, "steps": 1, "fps": 8}
_PATIENCE_S = 90.0


class LocalFarm:
    """`client` asks the gateway, `ledger` looks at the farm from behind."""

    def __init__(self, state_dir: Path) -> None:
        notes = StateFolder(state_dir).client()
        assert notes is not None
        assert notes.key is not None
        self.tenant, self.key, self.url = notes.tenant or "", notes.key, notes.url
        self.settings = Settings(**tomllib.loads((state_dir / "farm.toml").read_text()))
        self.client = Client(notes.url, notes.key)
        self.ledger = Ledger(connect(self.settings.redis), self.settings)
        self._read_to, self._over = "0", set[str]()

    @property
    def redis_url(self) -> str:
        """Of the server, without a database."""
        return self.settings.redis.ledger_url.rpartition("/")[0]

    def server(self) -> str:
        """Which server the farm was measured on, checked: what `wanfarm up` promises is that WAITAOF is asked."""
        with connect(self.settings.redis) as redis:
            return checked_server(redis, fsync="always")

    def submit(self) -> str:
        return self.client.jobs.create("measured", **SHOT).id

    def wait_over(self, job_id: str) -> None:
        """Wait on the tenant's event stream: a blocking read, so that nothing polls while something is measured."""
        end = time.monotonic() + _PATIENCE_S
        while job_id not in self._over:
            if time.monotonic() > end:
                raise RuntimeError(f"job {job_id} is not over")
            for event in self.ledger.events(self.tenant, after=self._read_to, block_ms=1000):
                self._read_to = event.id
                if event.data["state"] in ("failed", "cancelled"):
                    raise RuntimeError(f"a job that should have cost nothing: {event.data}")
                if event.data["state"] == "succeeded":
                    self._over.add(event.job)


@contextmanager
def local_farm() -> Iterator[LocalFarm]:
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as folder:
        state, config = Path(folder) / "state", Path(folder) / "bench.toml"
        config.write_text(tomli_w.dumps({"worker": {"devices": "cpu", "engine": "bench.noop_engine"}}))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANFARM_")}
        command = [sys.executable, "-m", "farm.cli", "up", "--config", str(config), "--state-dir", str(state)]
        with (Path(folder) / "up.log").open("wb") as log:
            up = subprocess.Popen(
                command, cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
            )
        try:
            _await_up(up, StateFolder(state), Path(folder) / "up.log")
            local_farm = LocalFarm(state)
            # the first job pays for connections and for the engine's start
            local_farm.wait_over(local_farm.submit())
            yield local_farm
        finally:
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(30)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()


def _await_up(up: "subprocess.Popen[bytes]", folder: StateFolder, log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not (folder.running() or {}).get("up"):
        if up.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the farm did not come up:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)
