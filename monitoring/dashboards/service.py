"""SLO: wait against estimate, deadline misses, the error budget."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, choice, graph, number

_POOL = '{pool=~"$pool"}'


def make() -> Dashboard:
    """The dashboard wanfarm-slo."""
    promise = [
        number(
            "Deadlines met",
            "Of the last 3 days. The objective is 99 %.",
            "1 - farm:wanfarm_deadlines_missed:ratio_rate3d",
            unit="percentunit",
        ),
        number(
            "Error budget left",
            "Part of the misses that 99 % allow in 3 days. Below 0 the objective is missed.",
            "1 - farm:wanfarm_deadlines_missed:ratio_rate3d / 0.01",
            unit="percentunit",
        ),
        number(
            "Failed attempts",
            "Of the last 15 minutes, by the farm's own fault.",
            "max(pool:wanfarm_attempts_failed:ratio_rate15m)",
            unit="percentunit",
            warn=0.05,
            bad=0.1,
        ),
        number(
            "Refused by error",
            "Requests answered with 5xx, of the last 5 minutes.",
            "farm:wanfarm_http_errors:ratio_rate5m",
            unit="percentunit",
            warn=0.005,
            bad=0.01,
        ),
    ]
    detail = [
        graph(
            "Wait against estimate",
            "What started jobs had waited, and what the exporter predicts for one that comes now.",
            (f"pool:wanfarm_queue_wait_seconds:p50_10m{_POOL}", "{{pool}} median"),
            (f"pool:wanfarm_queue_wait_seconds:p95_10m{_POOL}", "{{pool}} 95 of 100"),
            (f"wanfarm_queue_predicted_wait_seconds{_POOL}", "{{pool}} predicted"),
            unit="s",
        ),
        graph(
            "Render against prediction",
            "Seconds on the device against the predicted ones: 1 is as predicted. Fairness and waits rest on it.",
            (
                "histogram_quantile(0.5, sum by (le, pool)"
                f" (rate(wanfarm_render_prediction_ratio_bucket{_POOL}[10m])))",
                "{{pool}} median",
            ),
            (
                "histogram_quantile(0.95, sum by (le, pool)"
                f" (rate(wanfarm_render_prediction_ratio_bucket{_POOL}[10m])))",
                "{{pool}} 95 of 100",
            ),
        ),
        graph(
            "Deadlines",
            "Results per hour, met and missed.",
            (f"3600 * sum by (outcome) (rate(wanfarm_deadlines_total{_POOL}[10m]))", "{{outcome}}"),
            stacked=True,
        ),
        graph(
            "How fast the budget burns",
            "1 uses it up in 3 days exactly. Alerts at 14.4 over an hour and at 6 over six.",
            ("farm:wanfarm_deadlines_missed:ratio_rate1h / 0.01", "1 hour"),
            ("farm:wanfarm_deadlines_missed:ratio_rate6h / 0.01", "6 hours"),
        ),
        graph(
            "Attempts that failed",
            "Part of those that ended, by the farm's own fault.",
            (f"pool:wanfarm_attempts_failed:ratio_rate15m{_POOL}", "{{pool}}"),
            unit="percentunit",
        ),
        graph(
            "Requests refused by error",
            "Part answered with 5xx.",
            ("farm:wanfarm_http_errors:ratio_rate5m", "5xx"),
            unit="percentunit",
        ),
    ]
    return board(
        "wanfarm-slo",
        "Wanfarm: service level",
        "Wait against estimate, deadlines, the error budget.",
        [("Promise", promise), ("Detail", detail)],
        [choice("pool", "label_values(wanfarm_queue_jobs, pool)")],
    )
