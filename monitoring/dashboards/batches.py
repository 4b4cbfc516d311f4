"""Batches: what comes in as manifests, how far it is, and what is being done to it."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, graph


def make() -> Dashboard:
    """The dashboard wanfarm-batches."""
    coming = [
        graph(
            "Batches",
            "That are not over: asked for by a file, being admitted, open.",
            ("wanfarm_batches", "{{stage}}"),
        ),
        graph(
            "Jobs admitted",
            "Per second, as parts of batches.",
            ("sum(rate(wanfarm_batch_jobs_admitted_total[5m]))", "jobs"),
        ),
        graph(
            "Acts under way",
            "Pause, resume, cancel, approve, retry, priority. One that stays for long waits for an io worker.",
            ("wanfarm_batch_acts_open", "acts"),
        ),
    ]
    going = [
        graph(
            "Jobs of open batches",
            "By state.",
            ("wanfarm_batch_jobs", "{{state}}"),
            stacked=True,
        ),
        graph(
            "Share that is over",
            "Of the jobs of open batches.",
            (
                'sum(wanfarm_batch_jobs{state=~"succeeded|failed|cancelled"}) / sum(wanfarm_batch_jobs)',
                "over",
            ),
            unit="percentunit",
        ),
        graph(
            "Share that failed",
            "Of the jobs of open batches that are over.",
            (
                'sum(wanfarm_batch_jobs{state="failed"})'
                ' / sum(wanfarm_batch_jobs{state=~"succeeded|failed|cancelled"})',
                "failed",
            ),
            unit="percentunit",
        ),
        graph(
            "Held jobs",
            "Of all jobs: paused, for approval, behind another shot.",
            ('wanfarm_held_jobs{reason=~"paused|approval|dependency"}', "{{reason}}"),
        ),
    ]
    return board(
        "wanfarm-batches",
        "Wanfarm: batches",
        "Manifests of many shots: what comes in, how far it is, what is done to it.",
        [("Coming in", coming), ("Going on", going)],
        [],
    )
