"""A process exports the metrics of what it is, and importing modules registers none."""

import subprocess
import sys

import pytest

GATEWAY = {"wanfarm_http_requests", "wanfarm_http_request_seconds", "wanfarm_event_streams", "wanfarm_permits"}
AGENT = {"wanfarm_engine_up", "wanfarm_device_quarantined", "wanfarm_render_seconds", "wanfarm_attempts"}
EXPORTER = {"wanfarm_permits"}
IO_WORKER = {"wanfarm_reaped", "wanfarm_webhooks", "wanfarm_forgotten_jobs", "wanfarm_attempts"}

EVERYTHING = """
import api.app, farm.agent.agent, farm.io_worker.housekeeping, farm.io_worker.intake_worker, farm.webhooks.postman
from prometheus_client import REGISTRY
from monitoring.metrics import export
from monitoring.roles import ProcessRole
"""


def exported(then: str) -> set[str]:
    """Names of the farm's metrics in the default registry of a fresh process that imports everything, after `then`."""
    code = f"{EVERYTHING}\n{then}\nprint(*(m.name for m in REGISTRY.collect()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return {name for name in told.split() if name.startswith("wanfarm_")}


def test_importing_registers_nothing() -> None:
    assert exported("") == set()
    # also not by being counted in a process that has no role
    assert exported("from monitoring.metrics import PERMITS; PERMITS.labels('gpu', 'used').inc()") == set()


@pytest.mark.parametrize(
    ("role", "own", "others"),
    [
        ("GATEWAY", GATEWAY, (AGENT | IO_WORKER) - GATEWAY),
        ("AGENT", AGENT, (GATEWAY | IO_WORKER) - AGENT - {"wanfarm_permits"}),
        ("EXPORTER", EXPORTER, (GATEWAY | AGENT | IO_WORKER) - EXPORTER),
        ("IO_WORKER", IO_WORKER, (GATEWAY | AGENT) - IO_WORKER - {"wanfarm_permits"}),
    ],
)
def test_a_role_exports_what_it_is(role: str, own: set[str], others: set[str]) -> None:
    found = exported(f"export(ProcessRole.{role}); export(ProcessRole.{role})")
    assert own <= found
    assert not others & found
