"""Workers and GPUs: who is there, how attempts go, how the devices are."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.dashboards.panels import board, choice, graph

_MACHINE = 'machine=~"$machine"'


def make() -> Dashboard:
    """The dashboard wanfarm-workers."""
    workers = [
        graph("Workers, by state", "As they tell.", ("sum by (state) (wanfarm_workers)", "{{state}}"), stacked=True),
        graph(
            "Engines that can take a job",
            "By device.",
            (f"max by (machine, device) (wanfarm_engine_up{{{_MACHINE}}})", "{{machine}} {{device}}"),
        ),
        graph(
            "Quarantined",
            "Devices out of service.",
            (f"max by (machine, device) (wanfarm_device_quarantined{{{_MACHINE}}})", "{{machine}} {{device}}"),
        ),
        graph(
            "Time on the device",
            "Half and nine of ten renders, by lane.",
            (
                f"histogram_quantile(0.5, sum by (le, lane) (rate(wanfarm_render_seconds_bucket{{{_MACHINE}}}[10m])))",
                "{{lane}} median",
            ),
            (
                f"histogram_quantile(0.9, sum by (le, lane) (rate(wanfarm_render_seconds_bucket{{{_MACHINE}}}[10m])))",
                "{{lane}} 9 of 10",
            ),
            unit="s",
        ),
        graph(
            "Around the render",
            "Means: claim to inputs, claim to engine, upload.",
            *(
                (
                    f"sum(rate(wanfarm_{name}_seconds_sum{{{_MACHINE}}}[10m]))"
                    f" / sum(rate(wanfarm_{name}_seconds_count{{{_MACHINE}}}[10m]))",
                    name.replace("_", " "),
                )
                for name in ("prepare", "claim_to_render", "upload")
            ),
            unit="s",
        ),
        graph(
            "Busy",
            "Part of the time in which a device rendered.",
            (
                f"sum by (machine, device) (rate(wanfarm_render_seconds_sum{{{_MACHINE}}}[10m]))",
                "{{machine}} {{device}}",
            ),
            unit="percentunit",
        ),
    ]
    trouble = [
        graph(
            "Engines killed and started",
            "In 30 minutes, by reason and result.",
            ("sum by (reason) (increase(wanfarm_engine_kills_total[30m])) or vector(0)", "killed {{reason}}"),
            ("sum by (result) (increase(wanfarm_engine_starts_total[30m]))", "started {{result}}"),
        ),
        graph(
            "Strikes",
            "Jobs that failed on a device, in 30 minutes.",
            ("sum by (code) (increase(wanfarm_device_strikes_total[30m])) or vector(0)", "{{code}}"),
        ),
        graph(
            "Leases lost, heartbeats without an answer",
            "In 30 minutes.",
            ("sum(increase(wanfarm_leases_lost_total[30m]))", "leases lost"),
            ("sum(increase(wanfarm_heartbeat_failures_total[30m]))", "heartbeats"),
        ),
    ]
    gpu = [
        graph(
            title,
            text,
            (expr.format(_MACHINE), "{{machine}} {{device}}"),
            unit=unit,
        )
        for title, text, expr, unit in (
            (
                "Utilisation",
                "Part of the time in which a kernel ran.",
                "wanfarm_gpu_utilisation_ratio{{{}}}",
                "percentunit",
            ),
            (
                "Memory in use",
                "Of the GPU's own.",
                "wanfarm_gpu_memory_used_bytes{{{0}}} / wanfarm_gpu_memory_bytes{{{0}}}",
                "percentunit",
            ),
            ("Temperature", "Of the chip.", "wanfarm_gpu_temperature_celsius{{{}}}", "celsius"),
            ("Power", "That it draws.", "wanfarm_gpu_power_watts{{{}}}", "watt"),
            ("Slowed", "1 while heat or a power fault keeps its clocks down.", "wanfarm_gpu_slowed{{{}}}", "short"),
        )
    ]
    gpu.append(
        graph(
            "Driver errors (Xids)",
            "All that were reported, by number and by whose they are.",
            ("sum by (xid, kind) (wanfarm_xids_total) or vector(0)", "{{xid}} {{kind}}"),
        )
    )
    return board(
        "wanfarm-workers",
        "Wanfarm: workers and GPUs",
        "Who is there, how attempts go, how the devices are.",
        [("Workers", workers), ("Trouble", trouble), ("GPUs", gpu)],
        [choice("machine", "label_values(wanfarm_engine_up, machine)")],
    )
