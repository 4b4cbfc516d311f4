"""The doctor on this machine: disk, clock, devices, weights, addresses; and the command that tells it."""

import json
import logging
import resource
from pathlib import Path
from typing import Any

from bad_servers import Serve, page

from farm.config import Settings
from farm.doctor import address_checks, gpu_checks, machine_checks, weights_checks
from farm.doctor.finding import Finding, Level
from farm.doctor.gpu_checks import GpuFacts
from farm.embedded.ports import free_port
from farm.engine.slots import Slot
from models.weights.weights import PULLING
from tests.farm.cli.cli_run import run


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    )


def told(findings: Any) -> dict[str, Finding]:
    return {one.check: one for one in findings}


def test_a_disk_without_room_and_one_that_cannot_be_written(tmp_path: Path) -> None:
    assert machine_checks.disk(tmp_path / "state", 1).level is Level.OK
    assert machine_checks.disk(tmp_path, 10**18).level is Level.ERROR
    # /proc takes no file from anybody
    assert machine_checks.disk(Path("/proc/state"), 1).level is Level.ERROR


def test_descriptors() -> None:
    assert machine_checks.descriptors(1024, 4096).level is Level.WARNING
    assert machine_checks.descriptors(65536, 4096).level is Level.OK
    assert machine_checks.descriptors(resource.RLIM_INFINITY, 4096).level is Level.OK


def test_clock_and_secrets(settings: Settings) -> None:
    assert machine_checks.clock(settings).level is Level.OK
    assert machine_checks.secrets(settings).level is Level.OK
    elsewhere = changed(settings, redis={"ledger_url": f"redis://10.0.0.1:{free_port()}/0", "connect_timeout_s": 0.01})
    assert machine_checks.secrets(elsewhere).level is Level.WARNING
    assert machine_checks.secrets(changed(elsewhere, secrets={"key": "k"})).level is Level.OK
    away = changed(settings, redis={"ledger_url": f"redis://127.0.0.1:{free_port()}/0"})
    assert machine_checks.clock(away).level is Level.WARNING


def test_devices_and_driver() -> None:
    cpu, gpu = [Slot("cpu-0", title="CPU")], [Slot("gpu-0", "GPU-1", "H100")]
    assert gpu_checks.devices(cpu, wanted="auto").level is Level.WARNING
    assert gpu_checks.devices(cpu, wanted="cpu").level is Level.OK
    assert gpu_checks.devices(gpu, wanted="auto").level is Level.OK
    assert gpu_checks.cuda("580.1", (13, 0), (13, 0)).level is Level.OK
    # within a major version an older driver runs a newer build
    assert gpu_checks.cuda("570.1", (12, 8), (12, 9)).level is Level.OK
    assert gpu_checks.cuda("570.1", (12, 8), (13, 0)).level is Level.ERROR
    assert gpu_checks.cuda("580.1", (13, 0), None).level is Level.ERROR


def test_the_memory_of_a_gpu() -> None:
    whole = {"name": "H100", "total_bytes": 80 * 10**9}
    levels = [
        gpu_checks.health("gpu-0", GpuFacts(**{**whole, **facts})).level
        for facts in (
            {"used_bytes": 10**8},
            {"used_bytes": 40 * 10**9, "processes": 2},
            {"used_bytes": 0, "repairs_pending": True},
            {"used_bytes": 0, "repairs_failed": True},
        )
    ]
    assert levels == [Level.OK, Level.WARNING, Level.WARNING, Level.ERROR]


def test_which_cuda_torch_is_built_for(tmp_path: Path) -> None:
    """As torch writes it, with CUDA and without."""
    installed = gpu_checks.torch_file()
    assert installed is not None
    assert gpu_checks.built_for(installed) is None
    (tmp_path / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip = None\n")
    assert gpu_checks.built_for(tmp_path / "__init__.py") == (13, 0)


def test_weights(settings: Settings) -> None:
    found = told(weights_checks.examine(settings))
    assert found["weights.none"].level is Level.WARNING
    begun = settings.models_dir / "wan2.2-ti2v-5b"
    begun.mkdir(parents=True)
    (begun / PULLING).touch()
    wanting = changed(settings, worker={"models": ("wan2.2-t2v-a14b", "no-such-model")})
    found = told(weights_checks.examine(wanting))
    assert "pull wan2.2-ti2v-5b" in (found["weights.wan2.2-ti2v-5b"].todo or "")
    assert found["weights.wan2.2-t2v-a14b"].level is Level.ERROR
    assert found["weights.no-such-model"].level is Level.ERROR


def test_addresses_that_only_this_machine_can_dial(settings: Settings) -> None:
    assert address_checks.results(settings).level is Level.OK
    serving = changed(settings, gateway={"host": "0.0.0.0"})
    assert address_checks.results(serving).level is Level.ERROR
    assert address_checks.links(serving).level is Level.WARNING
    named = changed(serving, s3={"public_endpoint": "results.studio.example"}, gateway={"public_url": "https://x"})
    assert address_checks.results(named).level is Level.OK
    assert address_checks.links(named).level is Level.OK


def test_addresses_that_lead_elsewhere(settings: Settings, serve: Serve) -> None:
    stranger = serve(page(b"hello", "418 Teapot", Content_Length="5")).port
    right = changed(settings, s3={"public_endpoint": settings.s3.endpoint})
    assert address_checks.signatures(right).level is Level.OK
    wrong = changed(settings, s3={"public_endpoint": f"127.0.0.1:{stranger}"})
    assert address_checks.signatures(wrong).level is Level.ERROR
    away = changed(settings, s3={"public_endpoint": f"127.0.0.1:{free_port()}"})
    assert address_checks.signatures(away).level is Level.WARNING
    assert address_checks.gateway(f"http://127.0.0.1:{stranger}").level is Level.ERROR
    assert address_checks.gateway(f"http://127.0.0.1:{free_port()}").level is Level.WARNING
    ours = serve(page(b"{}", Content_Length="2")).port
    assert address_checks.gateway(f"http://127.0.0.1:{ours}/").level is Level.OK


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "farm.toml"
    # the bucket's server has no ranges: one error
    config.write_text(
        f'[redis]\nledger_url = "{settings.redis.ledger_url}"\nbroker_url = "{settings.redis.broker_url}"\n'
        f'[s3]\nendpoint = "{settings.s3.endpoint}"\naccess_key = "test-access"\nsecret_key = "test-secret"\n'
    )
    given = ("--config", config, "--state-dir", tmp_path / "state")
    before = logging.getLogger("farm").level
    ran = run("doctor", *given, "redis", "machine")
    assert logging.getLogger("farm").level == before
    assert ran.code == 0, ran
    assert "redis.waitaof" in ran.out
    assert "s3." not in ran.out
    ran = run("doctor", *given, "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert (document["ok"], document["counts"]["error"]) == (False, 1)
    faulty = [one for one in document["findings"] if one["level"] == "error"]
    assert [(one["check"], bool(one["todo"])) for one in faulty] == [("s3.ranges", True)]
