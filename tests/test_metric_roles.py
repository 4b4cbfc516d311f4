"""A process exports the metrics of what it is, and importing modules registers none."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.xdist_group("metric-roles")

GATEWAY = {"wanfarm_http_requests", "wanfarm_http_request_seconds", "wanfarm_event_streams", "wanfarm_permits"}
AGENT = {"wanfarm_engine_up", "wanfarm_device_quarantined", "wanfarm_render_seconds", "wanfarm_attempts"}
EXPORTER = {"wanfarm_permits"}
IO_WORKER = {"wanfarm_reaped", "wanfarm_webhooks", "wanfarm_forgotten_jobs", "wanfarm_attempts"}

BURST = {"wanfarm_purchases", "wanfarm_provider_polls", "wanfarm_burst_decisions"}

#: imports everything once, then forks for each line of code that it is given
EVERYTHING = """
import json, os, sys
import api.app, farm.agent.agent, farm.burst.process, farm.io_worker.housekeeping, farm.io_worker.intake_worker
import farm.webhooks.postman
from prometheus_client import REGISTRY
from monitoring.metrics import export
from monitoring.roles import ProcessRole
for line in sys.argv[1:]:
    if not (child := os.fork()):
        exec(line)
        print(json.dumps([line, [metric.name for metric in REGISTRY.collect()]]), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
#: not exported by being counted in a process that has no role
COUNTED = "from monitoring.metrics import PERMITS; PERMITS.labels('gpu', 'used').inc()"
ROLES = ("GATEWAY", "AGENT", "BURST", "EXPORTER", "IO_WORKER")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Names of the farm's metrics in the registry of a process that has imported everything, then run each code."""
    codes = ["", COUNTED, *(f"export(ProcessRole.{role}); export(ProcessRole.{role})" for role in ROLES)]
    told = subprocess.run([sys.executable, "-c", EVERYTHING, *codes], capture_output=True, text=True, check=True).stdout
    return {
        code: {name for name in names if name.startswith("wanfarm_")}
        for code, names in map(json.loads, told.splitlines())
    }


def test_importing_registers_nothing(exported: dict[str, set[str]]) -> None:
    assert exported[""] == set()
    assert exported[COUNTED] == set()


@pytest.mark.parametrize(
    ("role", "own", "others"),
    [
        ("GATEWAY", GATEWAY, (AGENT | IO_WORKER) - GATEWAY),
        ("AGENT", AGENT, (GATEWAY | IO_WORKER) - AGENT - {"wanfarm_permits"}),
        ("BURST", BURST, (GATEWAY | AGENT | IO_WORKER) - BURST - {"wanfarm_permits", "wanfarm_attempts"}),
        ("EXPORTER", EXPORTER, (GATEWAY | AGENT | IO_WORKER) - EXPORTER),
        ("IO_WORKER", IO_WORKER, (GATEWAY | AGENT) - IO_WORKER - {"wanfarm_permits"}),
    ],
)
def test_a_role_exports_what_it_is(role: str, own: set[str], others: set[str], exported: dict[str, set[str]]) -> None:
    found = exported[f"export(ProcessRole.{role}); export(ProcessRole.{role})"]
    assert own <= found
    assert not others & found
