"""A real Prometheus watches a farm under load with the committed configuration, and every panel gets data. No Grafana
runs here: dashboards are checked by their schema (Grafana's own SDK makes them) and by their queries."""

import io
import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness import MODEL, SMALL, Farm

from farm.embedded.ports import free_port
from farm.jobs.states import State
from farm.tenants.tenants import Tenants
from tests.simulators import KEY, simulated

ROOT = Path(__file__).parents[2]
JOBS = 12
#: what only a machine with a GPU has
GPU_ONLY = ("wanfarm_gpu_",)
PLACED = 'wanfarm_provider_submissions_total{outcome="placed"}'
#: the provider says no once, and once answers nothing that can be read
TROUBLE = (
    {"on": "create", "do": "refuse", "kind": "busy", "retry_after": 1, "times": 1},
    {"on": "status", "do": "text", "times": 1},
)


class Prometheus:
    """A running one."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=90, trust_env=False)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        answer = self._client.get("/api/v1/query", params={"query": expr})
        assert answer.status_code == 200, f"{expr}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def value(self, expr: str) -> float | None:
        """The one number that `expr` is."""
        found = self.ask(expr)
        return float(found[0]["value"][1]) if found else None

    def has_data(self, expr: str) -> bool:
        return any(not math.isnan(float(one["value"][1])) for one in self.ask(expr))


@contextmanager
def watching(farm: Farm, folder: Path) -> Iterator[Prometheus]:
    """Prometheus with the committed files, whose intervals are a second and whose gateway is the farm's."""
    shutil.copytree(ROOT / "monitoring" / "prometheus", folder)
    for path in folder.glob("*.yml"):
        text = path.read_text().replace("http://127.0.0.1:8000", farm.notes["url"])
        for line in ("interval: 15s", "interval: 30s"):
            text = text.replace(line, "interval: 1s")
        path.write_text(text)
    (folder / "wanfarm.key").write_text(farm.notes["admin_key"])
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"),
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")

        def up() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/-/ready", timeout=5, trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        farm.wait(up, f"Prometheus:\n{(folder / 'log').read_text()[-2000:]}")
        yield prometheus
    finally:
        process.terminate()
        process.wait(90)


def panel_queries() -> dict[str, str]:
    """Where -> the expression, with everything chosen."""
    found = {}
    for path in sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                expr = target["expr"].replace("$__rate_interval", "1m")
                for variable in ("pool", "tenant", "machine", "provider"):
                    expr = expr.replace(f"${variable}", ".*")
                found[f"{path.stem} / {panel['title']} / {target['refId']}"] = expr
    return found


def buying_from(address: str) -> dict[str, Any]:
    """The sections of the settings: a kie that sells something for the model of these tests."""
    model = {"per_second": {"480p": 0.04}, "minimum_s": 5, "replaces": {MODEL: "substitute"}}
    kie = {
        "dialect": "kie", "base_url": address, "keys": {"main": {"env": "KIE_KEY"}}, "unit_usd": 0.005,
        "models": {"wan/2-2-a14b-text-to-video-turbo": model}, "poll_first_s": 0.2, "poll_max_s": 0.5,
    }  # fmt: skip
    burst = {
        "metrics_port": free_port(), "every_s": 0.2, "least_depth": 1, "least_dwell_s": 0.0, "balances_every_s": 1.0,
        "allow_networks": ["127.0.0.0/8"],
    }  # fmt: skip
    return {"providers": {"kie": kie}, "burst": burst}


def test_every_panel_gets_data_from_a_farm_under_load(tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no prometheus (Debian: apt-get install prometheus)")
    ports = {"metrics_port": free_port(), "io_metrics_port": free_port()}
    with ExitStack() as stack:
        kie = stack.enter_context(simulated(tmp_path / "kie", "kie"))["kie"]
        kie.settings(queue_s=0.0, render_s=0.1, size=[64, 64], frames=5)
        kie.faults(*TROUBLE)
        settings = {"worker": ports, "gateway": {"processes": 2}, **buying_from(kie.address)}
        farm = stack.enter_context(Farm(tmp_path / "farm", settings, KIE_KEY=KEY).start())
        prometheus = stack.enter_context(watching(farm, tmp_path / "prometheus"))

        def scraped() -> bool:
            return {one["metric"]["job"] for one in prometheus.ask("up == 1")} >= {
                "wanfarm-gateway",
                "wanfarm-exporter",
                "wanfarm-agent",
                "wanfarm-io-worker",
                "wanfarm-burst",
            }

        farm.wait(scraped, "every kind of process to be found and scraped", pause_s=1.0)
        soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        jobs = [farm.submit("a fox")]
        # what a tenant has only by an operator's act
        tenant = farm.notes["tenant"]
        Tenants(farm.redis(), farm.settings).set(tenant, rate_per_minute=6000)
        farm.wait_over(*jobs)
        for _ in range(JOBS - 1):
            jobs.append(farm.submit("a fox", deadline=soon))
            time.sleep(0.1)
        farm.wait_over(*jobs)
        # one shot of a batch is over, the other waits for approval
        with farm.client as client:
            shots = io.BytesIO(b'{"prompt": "a fox"}\n{"prompt": "a fox"}\n')
            batch = client.batches.create(shots, media="application/x-ndjson", hold_after=1, **SMALL)
            farm.wait(
                lambda: client.batches.get(batch.id).counts.get(State.SUCCEEDED) == 1, "the first shot of the batch"
            )
        # entitlement, and who is next, are there only while jobs wait
        waiting = [farm.submit(prompt, external="never") for prompt in ("hold end", "a fox", "a fox")]
        farm.wait_render(waiting[0])
        # what its owner lets others render is bought: twice, so that there is a rate
        Tenants(farm.redis(), farm.settings).set(tenant, external="any", external_after_s=0)
        for _ in range(2):
            jobs.append(farm.submit("a fox", external="any"))
            farm.wait_over(jobs[-1])
            farm.wait(lambda: prometheus.has_data(PLACED), "an order to be seen", pause_s=0.5)
        assert sum(one["usd"] > 0 for one in kie.ledger()["charged"]) == 2
        # an account comes last: jobs of a model without a price are refused from then on
        farm.ledger().topup(tenant, 5_000_000)
        wanted = {where: expr for where, expr in panel_queries().items() if not any(name in expr for name in GPU_ONLY)}
        missing = dict(wanted)

        def all_answered() -> bool:
            for where, expr in list(missing.items()):
                if prometheus.has_data(expr):
                    del missing[where]
            return not missing

        try:
            # Prometheus looks once a second
            farm.wait(all_answered, "every query to return data", pause_s=1.0)
        finally:
            print(f"\n{len(wanted) - len(missing)} of {len(wanted)} queries returned data; without: {missing}")
            left = [where for where in panel_queries() if where not in wanted]
            print(f"not asked, since this farm has no GPU: {left}")

        farm.pull("end")
        farm.wait_over(*waiting)
        total = len(jobs) + len(waiting)

        def agreed() -> bool:
            # both processes of the gateway in one page, each request once
            posted = prometheus.value('sum(wanfarm_http_requests_total{route="/v1/jobs",method="POST",status="201"})')
            succeeded = prometheus.value('sum(wanfarm_jobs{state="succeeded"})')
            # each process is asked at its own time: the agent's page may be a second older than the ledger's
            used, rendered = map(
                prometheus.value, ("sum(wanfarm_tenant_gpu_seconds_total)", "sum(wanfarm_render_seconds_sum)")
            )
            return (posted, succeeded, used) == (total, total + 1, pytest.approx(rendered, rel=0.2, abs=1))

        farm.wait(agreed, "the counts of the gateways, the ledger and the agent to be the same", pause_s=0.5)
        # a healthy farm alarms nobody; disk and memory are this machine's own
        assert prometheus.ask('ALERTS{alertstate="firing", alertname!~"WanfarmDiskFull|WanfarmLedgerMemory"}') == []
