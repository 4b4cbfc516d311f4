"""compose.yaml started without containers: each service's own command, environment, secrets and health check, in the
order of depends_on, in a network of its own in which the names of services are known, on a file system that is
read-only but for volumes and /tmp. In place of SeaweedFS stands rclone; Prometheus and Grafana are left out. Needs
root, iproute2 and redis-tools; `make images` runs it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from lossy_link import refused

from farm.embedded import s3_part
from farm.embedded.binaries import redis_server
from tests.conftest import wait_until
from tests.deploy.compose_files import ROOT, load

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

WHOLE = load(ROOT / "compose.yaml", {})
_STORE = load(ROOT / "deploy/compose/store-seaweedfs.yaml", {})
SERVICES: dict[str, dict[str, Any]] = {**WHOLE["services"], **_STORE["services"]}
#: what a container has as files, and where it lies here, below the test's folder
PLACES = {
    "/run/secrets": "secrets",
    "/etc/wanfarm/wanfarm.toml": "wanfarm.toml",
    "/etc/wanfarm-redis.conf": "redis.conf",
    "/keys": "keys",
}


class Compose:
    """One network with the processes of one `docker compose up`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.network = folder, f"wf-compose-{os.getpid()}"
        self._hosts = Path("/etc/netns") / self.network
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._lay_out()

    def _lay_out(self) -> None:
        (self.folder / "deploy/compose").mkdir(parents=True)
        for name in ("deploy/compose/secrets.sh", ".env.example"):
            shutil.copy(ROOT / name, self.folder / name)
        subprocess.run([self.folder / "deploy/compose/secrets.sh"], check=True, capture_output=True)
        shutil.copy(ROOT / "deploy/compose/wanfarm.toml", self.folder / "wanfarm.toml")
        conf = WHOLE["configs"]["redis"]["content"].replace("dir /data", f"dir {self.folder / 'data'}")
        (self.folder / "redis.conf").write_text(conf)
        for name in ("keys", "data", "models", "objects/wanfarm", "bin"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "bin/valkey-server").symlink_to(redis_server())
        client = shutil.which("valkey-cli") or shutil.which("redis-cli")
        assert client is not None, "no redis-cli on PATH (Debian: apt-get install redis-tools)"
        (self.folder / "bin/valkey-cli").symlink_to(client)

    def __enter__(self) -> "Compose":
        subprocess.run(["ip", "netns", "add", self.network], check=True)
        subprocess.run(["ip", "-n", self.network, "link", "set", "lo", "up"], check=True)
        self._hosts.mkdir(parents=True)
        (self._hosts / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *SERVICES)))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "del", self.network], check=False)
        shutil.rmtree(self._hosts)

    def up(self, name: str) -> None:
        """Start it as compose does: when what it needs is healthy or done; returns when it is so itself."""
        if name in self.running:
            return
        for needed in SERVICES[name].get("depends_on", {}):
            self.up(needed)
        command = self._store() if name == "s3" else SERVICES[name]["command"]
        self.running[name] = self.start(name, command)
        if name == "keys":
            assert self.running[name].wait(120) == 0, self.log(name)
        else:
            wait_until(lambda: self.healthy(name), 300, f"{name} to be healthy: {self.folder / name}.log")

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._inside(name, command), env=self._environment(name), stdout=log, stderr=log, cwd=self.folder
            )

    def run(self, name: str, *command: str) -> str:
        """As `docker compose exec`."""
        ran = subprocess.run(
            self._inside(name, command),
            env=self._environment(name),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr, self.log(name))
        return ran.stdout

    def healthy(self, name: str) -> bool:
        assert self.running[name].poll() is None, self.log(name)
        if name == "s3":
            return subprocess.run(["ip", "netns", "exec", self.network, *_KNOCK], check=False).returncode == 0
        kind, *test = SERVICES[name]["healthcheck"]["test"]
        command = test if kind == "CMD" else ["sh", "-c", *test]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ran = subprocess.run(self._inside(name, command), env=self._environment(name), check=False, **quiet)  # type: ignore[call-overload]
        return bool(ran.returncode == 0)

    def stop(self, name: str) -> int:
        """As `docker compose stop`; the exit status."""
        self.running[name].terminate()
        return self.running.pop(name).wait(120)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _store(self) -> list[str]:
        return s3_part.command(self.folder / "objects", 9000, host="0.0.0.0")

    def _state(self, name: str) -> Path:
        """Of its volume: gateway and keys share one."""
        return self.folder / "state" / (name if name not in ("gateway", "keys") else "shared")

    def _inside(self, name: str, command: Sequence[str]) -> list[str]:
        words = [str(word) for word in command]
        if name in SERVICES and "wanfarm/" in SERVICES[name]["image"] and words[0] not in ("python", "wanfarm"):
            words = ["wanfarm", *words]
        written = [self._here(word) for word in words]
        own = self._state(name)
        own.mkdir(parents=True, exist_ok=True)
        kept = (own, *(self.folder / one for one in ("keys", "data", "models", "objects")))
        mounts = [f"mount --bind {path} {path}" for path in map(shlex.quote, map(str, kept))]
        script = " && ".join([*mounts, "mount -t tmpfs tmpfs /tmp", "mount -o remount,bind,ro /", 'exec "$@"'])
        return ["ip", "netns", "exec", self.network, "unshare", "-m", "sh", "-c", script, "sh", *written]

    def _here(self, text: str) -> str:
        for there, here in PLACES.items():
            text = text.replace(there, str(self.folder / here))
        return text

    def _environment(self, name: str) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        given = {"PATH": path, "HOME": str(self._state(name)), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
        if name == "s3":
            keys = [(self.folder / "secrets" / one).read_text() for one in ("s3_access_key", "s3_secret_key")]
            return given | s3_part.environment(*keys)
        # the image's own
        given |= {"WANFARM_STATE_DIR": str(self._state(name) / "state"), "PYTHONUNBUFFERED": "1"}
        given |= {"WANFARM_WORKER__MODELS_DIR": str(self.folder / "models")}
        return given | {key: self._here(str(value)) for key, value in SERVICES[name].get("environment", {}).items()}


_KNOCK = (sys.executable, "-c", "import socket; socket.create_connection(('s3', 9000), 1)")


@pytest.fixture
def compose() -> Iterator[Compose]:
    if (why := refused()) is not None:
        pytest.skip(why)
    # /tmp is each container's own
    with TemporaryDirectory(prefix="wanfarm-compose-", dir="/var/tmp") as folder, Compose(Path(folder)) as made:
        yield made


def test_what_compose_starts_runs_in_its_order_and_renders_a_clip(compose: Compose) -> None:
    for name in ("redis", "s3", "keys", "gateway", "io", "beat", "exporter", "worker-cpu"):
        compose.up(name)
    # the third line of README: the client inside the gateway's container has its key already
    compose.run("gateway", "wanfarm", "submit", "--prompt", "a red fox runs through snow", "--watch")
    (job,) = json.loads(compose.run("gateway", "wanfarm", "jobs", "--json"))
    assert job["state"] == "succeeded"
    # Prometheus' key opens the gateway's page of metrics, and the targets that it is told are those of compose
    key = (compose.folder / "keys/wanfarm.key").read_text().strip()
    ask = "u.urlopen(u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}))"
    fetch = f"import sys, urllib.request as u; print({ask}.read().decode())"
    assert "wanfarm_" in compose.run("gateway", "python", "-c", fetch, "http://gateway:8000/metrics", key)
    assert "wanfarm_jobs" in compose.run("exporter", "python", "-c", fetch, "http://exporter:9100/metrics", "none")
    compose.run("io", "wanfarm", "doctor", "redis")
    # nobody wrote where a container may not
    for name in ("worker-cpu", "gateway", "io", "beat", "exporter", "redis"):
        assert "Read-only file system" not in compose.log(name), compose.log(name)
        assert compose.stop(name) == 0, compose.log(name)
