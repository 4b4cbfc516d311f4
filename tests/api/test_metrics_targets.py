"""Where Prometheus finds the pages of the farm's processes."""

from collections.abc import Callable
from socket import gethostname
from typing import Any

from flask import Flask

from farm.claiming.page_address import dialled, on_loopback, own_address
from farm.jobs.metrics_page import MetricsPage
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import BURST_POOL, INTAKE_POOL, Ledger
from tests.api.api_parts import Caller


def told(caller: Caller, asker: str) -> dict[str, dict[str, str]]:
    answer = caller.get("/metrics/targets", environ_base={"REMOTE_ADDR": asker})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json
    return {one["targets"][0]: one["labels"] for one in found}


def test_every_process_is_told_with_what_it_is(caller: Callable[..., Caller], ledger: Ledger) -> None:
    def seen(worker: str, pool: str, metrics: str | None, host: str, slot: str | None = None) -> None:
        ledger.worker_seen(worker, pool, WorkerStatus(metrics=metrics, host=host, slot=slot), ttl_s=60)

    seen("a/gpu-1", "gpu", "10.0.0.7:9101", "a", "gpu-1")
    seen("a/io-1", INTAKE_POOL, "10.0.0.7:9300", "a")
    seen("a/burst-1", BURST_POOL, "10.0.0.7:9500", "a")
    seen("b/gpu-0", "gpu", None, "b", "gpu-0")
    seen("c/gpu-0", "gpu", "127.0.0.1:9100", "c", "gpu-0")
    seen("here/gpu-0", "gpu", "127.0.0.1:9100", gethostname(), "gpu-0")
    ledger.page_seen(MetricsPage("exporter", "a", "10.0.0.7:9400"), ttl_s=60)
    ledger.page_seen(MetricsPage("gateway", "b", "10.0.0.8:8000"), ttl_s=60)
    ledger.page_seen(MetricsPage("gateway", "gone", "10.0.0.9:8000"), ttl_s=-1)

    admin = caller("ops", role="operator")
    others = {
        "10.0.0.7:9101": {"job": "wanfarm-agent", "machine": "a", "device": "gpu-1"},
        "10.0.0.7:9300": {"job": "wanfarm-io-worker", "machine": "a"},
        "10.0.0.7:9500": {"job": "wanfarm-burst", "machine": "a"},
        "10.0.0.7:9400": {"job": "wanfarm-exporter", "machine": "a"},
        "10.0.0.8:8000": {"job": "wanfarm-gateway", "machine": "b"},
    }
    assert told(admin, "10.0.0.99") == others
    # a loopback address means something on its own machine alone
    own = {"job": "wanfarm-agent", "machine": gethostname(), "device": "gpu-0"}
    assert told(admin, "127.0.0.1") == others | {"127.0.0.1:9100": own}


def test_tenants_do_not_see_them(caller: Callable[..., Caller], app: Flask) -> None:
    assert app.test_client().get("/metrics/targets").status_code == 401
    assert caller("acme").get("/metrics/targets").status_code == 403


def test_who_is_bound_to_every_address_is_found_under_the_machine_s_own() -> None:
    assert dialled("0.0.0.0", 9) == f"{own_address()}:9"
    assert dialled("10.1.2.3", 9) == "10.1.2.3:9"
    assert dialled("fd00::1", 9) == "[fd00::1]:9"
    assert on_loopback("127.0.0.1:9")
    assert on_loopback("[::1]:9")
    assert not on_loopback("10.1.2.3:9")
