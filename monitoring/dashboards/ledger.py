"""Ledger, outbox and storage: what keeps the house, callbacks, disk and memory."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, graph


def make() -> Dashboard:
    """The dashboard wanfarm-ledger."""
    ledger = [
        graph(
            "Since the last reap",
            "Lost workers' jobs and retries wait for it.",
            ("max(wanfarm_reap_age_seconds)", "reap"),
            unit="s",
        ),
        graph(
            "Since the last whole audit",
            "Every counter is recomputed from the records, round and round.",
            ("max(wanfarm_audit_age_seconds)", "audit"),
            unit="s",
        ),
        graph(
            "Drift",
            "Counters that audits found wrong and mended, in an hour.",
            ("sum by (counter) (increase(wanfarm_audit_drift_total[1h])) or vector(0)", "{{counter}}"),
        ),
        graph(
            "What reaps did",
            "Per second, by action.",
            ("sum by (action) (rate(wanfarm_reaped_total[$__rate_interval]))", "{{action}}"),
        ),
        graph(
            "Memory of the ledger's Redis",
            "In use, and the limit (0: none). When it is full, new jobs are refused.",
            ("max(wanfarm_ledger_memory_bytes)", "in use"),
            ("max(wanfarm_ledger_memory_limit_bytes)", "limit"),
            unit="bytes",
        ),
        graph(
            "Scrapes of the exporter",
            "How long the ledger takes to answer one.",
            ("max(wanfarm_exporter_scrape_seconds)", "answer"),
            ("max(wanfarm_exporter_ledger_up)", "up"),
            unit="s",
        ),
    ]
    callbacks = [
        graph("Outbox", "Endings whose callback is not scheduled yet.", ("max(wanfarm_outbox_entries)", "entries")),
        graph(
            "Callbacks",
            "Due, waiting for a retry or under way; and dead letters.",
            ("max(wanfarm_webhooks_pending)", "pending"),
            ("max(wanfarm_webhooks_dead)", "dead"),
        ),
        graph(
            "Longest due",
            "How late the callback is that is due longest.",
            ("max(wanfarm_webhooks_due_age_seconds)", "late"),
            unit="s",
        ),
        graph(
            "Posts to receivers",
            "Per second, by dialect and outcome.",
            ("sum by (dialect, outcome) (rate(wanfarm_webhooks_total[10m])) or vector(0)", "{{dialect}} {{outcome}}"),
            wide=True,
        ),
    ]
    storage = [
        graph(
            "Free on disk",
            "Of the exporter's state folder. Below storage.min_free_bytes nothing new is taken.",
            ("min(wanfarm_disk_free_bytes)", "free"),
            unit="bytes",
        ),
        graph("Stored", "By all tenants.", ("sum(wanfarm_tenant_stored_bytes)", "stored"), unit="bytes"),
        graph(
            "Removed",
            "Jobs after their retention, and objects that no job points to, per hour.",
            ("3600 * sum(rate(wanfarm_forgotten_jobs_total[10m]))", "jobs"),
            ("3600 * sum(rate(wanfarm_orphan_objects_total[10m]))", "objects"),
        ),
    ]
    return board(
        "wanfarm-ledger",
        "Wanfarm: ledger, outbox and storage",
        "What keeps the house in order, callbacks, disk and memory.",
        [("Ledger", ledger), ("Callbacks", callbacks), ("Storage", storage)],
    )
