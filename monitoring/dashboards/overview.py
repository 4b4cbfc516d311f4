"""Farm overview: is it well, what waits, who works."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, choice, graph, number

_POOL = 'pool=~"$pool", pool!="intake"'


def make() -> Dashboard:
    """The dashboard wanfarm-overview."""
    now = [
        number("Waiting", "Jobs that a worker could start now.", 'sum(wanfarm_queue_jobs{pool!="intake"})'),
        number("Rendering", "Attempts that hold a lease.", 'sum(wanfarm_leases{pool!="intake"})'),
        number(
            "Predicted wait",
            "When all that is queued will have been started, in the slowest pool.",
            'max(wanfarm_queue_predicted_wait_seconds{pool!="intake"})',
            unit="s",
            warn=1800,
            bad=7200,
        ),
        number(
            "Oldest",
            "How long the job waits that has waited longest.",
            'max(wanfarm_queue_oldest_age_seconds{pool!="intake"})',
            unit="s",
            warn=3600,
            bad=14400,
        ),
        number(
            "Quarantined",
            "Workers whose device was taken out of service.",
            'sum(wanfarm_workers{state="quarantined"})',
            warn=1,
            bad=3,
        ),
        number("Reap age", "Since the last reap.", "max(wanfarm_reap_age_seconds)", unit="s", warn=10, bad=60),
    ]
    queue = [
        graph("Waiting jobs", "By pool.", (f"sum by (pool) (wanfarm_queue_jobs{{{_POOL}}})", "{{pool}}")),
        graph(
            "Predicted wait and oldest job",
            "What a job that comes now will wait, and what the oldest has waited.",
            (f"max by (pool) (wanfarm_queue_predicted_wait_seconds{{{_POOL}}})", "{{pool}} predicted"),
            (f"max by (pool) (wanfarm_queue_oldest_age_seconds{{{_POOL}}})", "{{pool}} oldest"),
            unit="s",
        ),
        graph(
            "Work that waits",
            "GPU-seconds predicted for what is queued.",
            (f"sum by (pool) (wanfarm_queue_predicted_gpu_seconds{{{_POOL}}})", "{{pool}}"),
            unit="s",
        ),
        graph("Jobs kept, by state", "All tenants.", ("sum by (state) (wanfarm_jobs)", "{{state}}"), stacked=True),
        graph(
            "Held jobs",
            "Not to start yet, by reason; and those that would be queued, by pool.",
            ("sum by (reason) (wanfarm_held_jobs)", "{{reason}}"),
            (f"sum by (pool) (wanfarm_pool_held_jobs{{{_POOL}}})", "at {{pool}}"),
        ),
        graph(
            "Wait for a retry, or for their inputs",
            "Delayed jobs, and jobs at intake.",
            ("sum(wanfarm_delayed_jobs)", "delayed"),
            ('sum(wanfarm_queue_jobs{pool="intake"}) + sum(wanfarm_leases{pool="intake"})', "intake"),
        ),
    ]
    work = [
        graph(
            "Attempts that ended",
            "Per second, by ending.",
            ('sum by (ending) (rate(wanfarm_attempts_total{pool=~"$pool"}[$__rate_interval]))', "{{ending}}"),
            unit="ops",
            stacked=True,
        ),
        graph(
            "Slots and leases",
            "What live workers could run at once, and what they run. A gap while jobs wait is a fault.",
            (f"sum by (pool) (wanfarm_slots{{{_POOL}}})", "{{pool}} slots"),
            (f"sum by (pool) (wanfarm_leases{{{_POOL}}})", "{{pool}} leases"),
        ),
        graph(
            "Wake-ups",
            "Permits on their way to workers.",
            (f"sum by (pool) (wanfarm_open_permits{{{_POOL}}})", "{{pool}}"),
        ),
        graph(
            "Requests",
            "Per second, by status, at all gateways.",
            ("sum by (status) (rate(wanfarm_http_requests_total[$__rate_interval]))", "{{status}}"),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Answers of the gateways",
            "Request read to answer ready.",
            (
                "histogram_quantile(0.5, sum by (le) (rate(wanfarm_http_request_seconds_bucket[$__rate_interval])))",
                "median",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(wanfarm_http_request_seconds_bucket[$__rate_interval])))",
                "99 of 100",
            ),
            unit="s",
        ),
        graph("Event streams", "Open now.", ("sum(wanfarm_event_streams)", "open")),
    ]
    return board(
        "wanfarm-overview",
        "Wanfarm: overview",
        "Is the farm well, what waits, who works.",
        [("Now", now), ("Queue", queue), ("Work", work)],
        [choice("pool", "label_values(wanfarm_queue_jobs, pool)")],
    )
