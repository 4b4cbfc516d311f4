"""Every alert fires on its fault and is silent a little short of it: Prometheus' own promtool computes both."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus"
RUNBOOK = (ROOT / "deploy" / "runbook.md").read_text()
BOARDS = {path.stem for path in (ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json")}

GPU = 'pool="gpu"'
DEVICE = 'job="wanfarm-agent", machine="a", device="gpu-0"'
TENANT = 'pool="gpu", tenant="acme"'
OTHER = 'pool="gpu", tenant="globex"'
#: series -> samples a minute (promtool's notation)
Series = Mapping[str, str]

#: alert -> what makes it fire within 100 minutes, and what is a little short of that
CASES: dict[str, tuple[Series, Series]] = {
    "WanfarmExporterDown": ({'up{job="wanfarm-exporter"}': "0x100"}, {'up{job="wanfarm-exporter"}': "1x100"}),
    "WanfarmLedgerDown": ({"wanfarm_exporter_ledger_up": "0x100"}, {"wanfarm_exporter_ledger_up": "1x100"}),
    "WanfarmGatewayDown": (
        {'up{job="wanfarm-gateway", instance="a"}': "0x100"},
        {'up{job="wanfarm-gateway", instance="a"}': "0x100", 'up{job="wanfarm-gateway", instance="b"}': "1x100"},
    ),
    "WanfarmProviderParked": (
        {'wanfarm_provider_parked{provider="kie", reason="credit"}': "1x100"},
        {
            'wanfarm_provider_parked{provider="kie", reason="credit"}': "0x100",
            'wanfarm_provider_parked{provider="wiro", reason="paused"}': "1x100",
        },
    ),
    "WanfarmProviderUnknownWord": (
        {'wanfarm_provider_polls_total{provider="kie", outcome="unknown_word"}': "_x94 1 2 3 3 3"},
        {
            'wanfarm_provider_polls_total{provider="kie", outcome="unknown_word"}': "3x100",
            'wanfarm_provider_polls_total{provider="kie", outcome="missed"}': "0+1x100",
        },
    ),
    "WanfarmPurchasesUnreconciled": (
        {"wanfarm_purchases_unreconciled": "1x100"},
        {"wanfarm_purchases_unreconciled": "1x20 0x80"},
    ),
    "WanfarmProviderUnexplained": (
        {'wanfarm_provider_unexplained_usd{provider="kie", account="main"}': "0.2x100"},
        {'wanfarm_provider_unexplained_usd{provider="kie", account="main"}': "0x100"},
    ),
    "WanfarmNobodyReaps": ({"wanfarm_reap_age_seconds": "61x100"}, {"wanfarm_reap_age_seconds": "30x100"}),
    "WanfarmNoWorkers": (
        {f"wanfarm_queue_jobs{{{GPU}}}": "5x100", f"wanfarm_slots{{{GPU}}}": "0x100"},
        {f"wanfarm_queue_jobs{{{GPU}}}": "0x100", f"wanfarm_slots{{{GPU}}}": "0x100"},
    ),
    "WanfarmIdleWorkers": (
        {
            f"wanfarm_queue_jobs{{{GPU}}}": "5x100",
            f"wanfarm_slots{{{GPU}}}": "2x100",
            f"wanfarm_leases{{{GPU}}}": "1x100",
        },
        {
            f"wanfarm_queue_jobs{{{GPU}}}": "5x100",
            f"wanfarm_slots{{{GPU}}}": "2x100",
            f"wanfarm_leases{{{GPU}}}": "2x100",
        },
    ),
    "WanfarmLongWait": (
        {f"wanfarm_queue_predicted_wait_seconds{{{GPU}}}": "15000x100"},
        {f"wanfarm_queue_predicted_wait_seconds{{{GPU}}}": "14000x100"},
    ),
    "WanfarmIntakeStuck": (
        {'wanfarm_queue_oldest_age_seconds{pool="intake"}': "400x100"},
        {f"wanfarm_queue_oldest_age_seconds{{{GPU}}}": "400x100"},
    ),
    "WanfarmDeviceQuarantined": (
        {'wanfarm_workers{pool="gpu", state="quarantined"}': "1x100"},
        {
            'wanfarm_workers{pool="gpu", state="quarantined"}': "0x100",
            'wanfarm_workers{pool="gpu", state="busy"}': "9x100",
        },
    ),
    # the first one makes the series: there is no increase yet
    "WanfarmXid": (
        {f'wanfarm_xids_total{{{DEVICE}, xid="79", kind="device"}}': "_x95 1x5"},
        {f'wanfarm_xids_total{{{DEVICE}, xid="31", kind="program"}}': "_x95 1x5"},
    ),
    "WanfarmGpuSlowed": (
        {f'wanfarm_gpu_slowed{{{DEVICE}, cause="heat"}}': "1x100"},
        {f'wanfarm_gpu_slowed{{{DEVICE}, cause="heat"}}': "0x100"},
    ),
    "WanfarmEngineKills": (
        {f'wanfarm_engine_kills_total{{{DEVICE}, reason="stuck"}}': "0+0.4x100"},
        {f'wanfarm_engine_kills_total{{{DEVICE}, reason="stuck"}}': "0+0.1x100"},
    ),
    "WanfarmLeasesLost": (
        {f"wanfarm_leases_lost_total{{{DEVICE}}}": "0+0.2x100"},
        {f"wanfarm_leases_lost_total{{{DEVICE}}}": "0+0.05x100"},
    ),
    "WanfarmAttemptsFail": (
        {
            f'wanfarm_attempts_total{{{GPU}, ending="committed"}}': "0+8x100",
            f'wanfarm_attempts_total{{{GPU}, ending="engine_died"}}': "0+2x100",
        },
        {
            f'wanfarm_attempts_total{{{GPU}, ending="committed"}}': "0+8x100",
            f'wanfarm_attempts_total{{{GPU}, ending="invalid_input"}}': "0+8x100",
        },
    ),
    "WanfarmTenantStarved": (
        {
            f"wanfarm_tenant_gpu_seconds_total{{{TENANT}}}": "0+2x100",
            f"wanfarm_tenant_gpu_seconds_total{{{OTHER}}}": "0+40x100",
            f"wanfarm_tenant_entitlement_ratio{{{TENANT}}}": "0.5x100",
            f"wanfarm_tenant_queue_jobs{{{TENANT}}}": "3x100",
        },
        # it had nothing to render for a while
        {
            f"wanfarm_tenant_gpu_seconds_total{{{TENANT}}}": "0+2x100",
            f"wanfarm_tenant_gpu_seconds_total{{{OTHER}}}": "0+40x100",
            f"wanfarm_tenant_entitlement_ratio{{{TENANT}}}": "0.5x100",
            f"wanfarm_tenant_queue_jobs{{{TENANT}}}": "3x80 0 3x19",
        },
    ),
    "WanfarmAuditDrift": (
        {'wanfarm_audit_drift_total{counter="held"}': "_x95 1x5"},
        {'wanfarm_audit_drift_total{counter="held"}': "1x100"},
    ),
    "WanfarmAuditStale": ({"wanfarm_audit_age_seconds": "22000x100"}, {"wanfarm_audit_age_seconds": "3600x100"}),
    "WanfarmOutboxGrows": ({"wanfarm_outbox_entries": "1001x100"}, {"wanfarm_outbox_entries": "999x100"}),
    "WanfarmWebhooksLate": (
        {"wanfarm_webhooks_due_age_seconds": "301x100"},
        {"wanfarm_webhooks_due_age_seconds": "200x100"},
    ),
    "WanfarmWebhooksDead": ({"wanfarm_webhooks_dead": "0+1x100"}, {"wanfarm_webhooks_dead": "500x100"}),
    "WanfarmLedgerMemory": (
        {"wanfarm_ledger_memory_bytes": "9x100", "wanfarm_ledger_memory_limit_bytes": "10x100"},
        {"wanfarm_ledger_memory_bytes": "9x100", "wanfarm_ledger_memory_limit_bytes": "0x100"},
    ),
    "WanfarmDiskFull": ({"wanfarm_disk_free_bytes": "4e9x100"}, {"wanfarm_disk_free_bytes": "6e9x100"}),
    "WanfarmGatewayErrors": (
        {
            'wanfarm_http_requests_total{status="200"}': "0+90x100",
            'wanfarm_http_requests_total{status="503"}': "0+10x100",
        },
        {
            'wanfarm_http_requests_total{status="200"}': "0+90x100",
            'wanfarm_http_requests_total{status="429"}': "0+10x100",
        },
    ),
    "WanfarmGatewaySlow": (
        {
            'wanfarm_http_request_seconds_bucket{le="1"}': "0+90x100",
            'wanfarm_http_request_seconds_bucket{le="5"}': "0+100x100",
            'wanfarm_http_request_seconds_bucket{le="+Inf"}': "0+100x100",
        },
        {
            'wanfarm_http_request_seconds_bucket{le="1"}': "0+100x100",
            'wanfarm_http_request_seconds_bucket{le="5"}': "0+100x100",
            'wanfarm_http_request_seconds_bucket{le="+Inf"}': "0+100x100",
        },
    ),
    "WanfarmDeadlinesBurnFast": (
        {
            'wanfarm_deadlines_total{outcome="met"}': "0+8x100",
            'wanfarm_deadlines_total{outcome="missed"}': "0+2x100",
        },
        {
            'wanfarm_deadlines_total{outcome="met"}': "0+90x100",
            'wanfarm_deadlines_total{outcome="missed"}': "0+10x100",
        },
    ),
    "WanfarmDeadlinesBurnSlow": (
        {
            'wanfarm_deadlines_total{outcome="met"}': "0+90x100",
            'wanfarm_deadlines_total{outcome="missed"}': "0+10x100",
        },
        {
            'wanfarm_deadlines_total{outcome="met"}': "0+98x100",
            'wanfarm_deadlines_total{outcome="missed"}': "0+2x100",
        },
    ),
}


def rules() -> list[dict[str, object]]:
    """Every alerting rule."""
    [group] = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    return list(group["rules"])


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool (Debian: apt-get install prometheus)")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configuration_are_sound(promtool: str, tmp_path: Path) -> None:
    for path in RULES.glob("*.yml"):
        shutil.copy(path, tmp_path)
    (tmp_path / "wanfarm.key").touch()
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "recording.yml", tmp_path / "alerts.yml")
    run(promtool, "check", "config", tmp_path / "prometheus.yml")


def test_every_alert_fires_on_its_fault_and_is_silent_otherwise(promtool: str, tmp_path: Path) -> None:
    known = {str(rule["alert"]): rule for rule in rules()}
    assert sorted(CASES) == sorted(known)
    for alert, both in CASES.items():
        # its own rule alone: promtool computes every rule of the files at every step
        group = {"name": alert, "rules": [known[alert]]}
        (tmp_path / f"{alert}.yml").write_text(yaml.safe_dump({"groups": [group]}))
        recorded = [str(RULES / "recording.yml")] if ":wanfarm" in str(known[alert]["expr"]) else []
        tests = [
            {
                "name": f"{alert}: {'its fault' if fires else 'short of it'}",
                "interval": "1m",
                "input_series": [{"series": name, "values": samples} for name, samples in series.items()],
                "promql_expr_test": [
                    {
                        "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                        "eval_time": "100m",
                        "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                    }
                ],
            }
            for fires, series in zip((True, False), both, strict=True)
        ]
        what = {"rule_files": [f"{alert}.yml", *recorded], "evaluation_interval": "2m", "tests": tests}
        (tmp_path / f"{alert}_test.yml").write_text(yaml.safe_dump(what))
    run(promtool, "test", "rules", *sorted(tmp_path.glob("*_test.yml")))


def test_every_alert_tells_what_to_do_and_where_to_look() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    for rule in rules():
        alert, notes = str(rule["alert"]), rule["annotations"]
        assert isinstance(notes, dict)
        assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}, alert
        assert notes["runbook_url"] == f"/deploy/runbook.md#{alert.lower()}"
        assert notes["dashboard_url"].removeprefix("/d/") in BOARDS
        section = RUNBOOK.partition(f"## {alert}\n")[2].partition("\n## ")[0]
        for part in ("Means", "See", "Do"):
            assert re.search(rf"^\*\*{part}\.\*\* \S", section, re.MULTILINE), f"{alert}: {part}"
    # nor is there a section of an alert that is none
    assert sorted(headings) == sorted(CASES)


def test_recording_rules_are_named_by_level_metric_and_operation() -> None:
    groups = yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
    names = [rule["record"] for group in groups for rule in group["rules"]]
    assert len(names) == len(set(names)) > 5
    assert [name for name in names if not re.fullmatch(r"[a-z_]+:wanfarm_[a-z_]+:[a-z0-9_]+", name)] == []
