"""Tenants: what each has waiting, what it gets, what it may, what it pays."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, choice, graph

_SHARE = '{pool=~"$pool", tenant=~"$tenant"}'
_TENANT = '{tenant=~"$tenant"}'


def make() -> Dashboard:
    """The dashboard wanfarm-tenants."""
    fairness = [
        graph(
            "Share of GPU time",
            "Of the last hour, in each pool.",
            (f"pool_tenant:wanfarm_tenant_gpu_share:ratio_rate1h{_SHARE}", "{{tenant}} at {{pool}}"),
            unit="percentunit",
        ),
        graph(
            "Entitlement",
            "A tenant's part by weight, among those that want the pool now. Idle parts are lent.",
            (f"wanfarm_tenant_entitlement_ratio{_SHARE}", "{{tenant}} at {{pool}}"),
            unit="percentunit",
        ),
        graph(
            "Who is served next",
            "Virtual time against the tier's clock: of those that have jobs of it waiting, the lowest goes next.",
            (f"wanfarm_tenant_virtual_ahead_seconds{_SHARE}", "{{tenant}} at {{pool}}, {{tier}}"),
            unit="s",
        ),
        graph(
            "GPU time used",
            "GPU-seconds per second: 1 is one GPU all the time.",
            (f"sum by (tenant) (rate(wanfarm_tenant_gpu_seconds_total{_SHARE}[10m]))", "{{tenant}}"),
            stacked=True,
        ),
        graph(
            "Waiting jobs",
            "That a worker could start now.",
            (f"sum by (tenant) (wanfarm_tenant_queue_jobs{_SHARE})", "{{tenant}}"),
        ),
        graph(
            "Running jobs",
            "By tenant.",
            ('sum by (tenant) (wanfarm_tenant_jobs{tenant=~"$tenant", state="running"})', "{{tenant}}"),
            stacked=True,
        ),
    ]
    limits = [
        graph(
            "Open jobs against the limit",
            "At 100 % new jobs get 429.",
            (
                'sum by (tenant) (wanfarm_tenant_jobs{tenant=~"$tenant", state=~"waiting|queued|running"})'
                f" / sum by (tenant) (wanfarm_tenant_open_jobs_limit{_TENANT})",
                "{{tenant}}",
            ),
            unit="percentunit",
        ),
        graph(
            "Requests that are left",
            "Of the burst of tenants with a rate limit; at 0 they get 429.",
            (f"wanfarm_tenant_rate_remaining_requests{_TENANT}", "{{tenant}}"),
            (f"wanfarm_tenant_rate_burst_requests{_TENANT}", "{{tenant}} burst"),
        ),
        graph(
            "Stored",
            "Inputs, uploads and results.",
            (f"wanfarm_tenant_stored_bytes{_TENANT}", "{{tenant}}"),
            unit="bytes",
        ),
    ]
    money = [
        graph("Balance", "Credits paid in and not spent.", (f"wanfarm_tenant_balance_credits{_TENANT}", "{{tenant}}")),
        graph("Held", "Credits that open jobs will cost.", (f"wanfarm_tenant_held_credits{_TENANT}", "{{tenant}}")),
        graph(
            "Spent",
            "Credits per hour.",
            (f"3600 * sum by (tenant) (rate(wanfarm_tenant_spent_credits_total{_TENANT}[10m]))", "{{tenant}}"),
        ),
    ]
    return board(
        "wanfarm-tenants",
        "Wanfarm: tenants",
        "What each tenant has waiting, gets, may and pays.",
        [("Fairness", fairness), ("Limits", limits), ("Credit", money)],
        [
            choice("pool", "label_values(wanfarm_tenant_gpu_seconds_total, pool)"),
            choice("tenant", "label_values(wanfarm_tenant_jobs, tenant)"),
        ],
    )
