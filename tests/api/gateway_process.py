"""A gateway as it runs in earnest: gunicorn, its hooks, its threads."""

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import preloaded

from farm.config import CONFIG_ENV, Settings
from farm.embedded.ports import free_port
from farm.embedded.settings_file import render
from tests.conftest import wait_until


@dataclass
class Gateway:
    url: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/v1/health/live")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def running(settings: Settings, folder: Path, *, patience_s: float = 90.0) -> Iterator[Gateway]:
    """gunicorn on a free port with these settings; ended, and killed if that does not help. `patience_s`: it may take
    so long to start."""
    port = free_port()
    settings = settings.model_copy(
        update={"state_dir": folder / "state", "gateway": settings.gateway.model_copy(update={"port": port})}
    )
    config, log = folder / "farm.toml", folder / "gateway.log"
    config.write_text(render(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
    with log.open("wb") as out:
        process = preloaded.Popen(
            [sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf", "api.app:create_app()"],
            env={**environment, CONFIG_ENV: str(config)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    gateway = Gateway(f"http://127.0.0.1:{port}", port, process, log)
    try:
        wait_until(
            lambda: gateway.answers() or process.poll() is not None, patience_s, what=f"the gateway (log: {log})"
        )
        assert process.poll() is None, log.read_text()
        yield gateway
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
