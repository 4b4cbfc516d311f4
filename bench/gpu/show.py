"""How the bench's journal is read by people: a table of the clips, then the rest, one line each."""

from typing import Any

from bench import report

_COLUMNS = (
    *("row", "s/step", "first", "text", "decode", "s/clip*", "TFLOP/s", "of matmul", "GB", "err %", "frames %"),
)


def table(told: dict[str, Any]) -> None:
    rows = told["rows"]
    measured = {row["row"]: row for row in rows if row["state"] == "measured"}
    clips = [
        (
            f"{row['row'].removeprefix('wan2.2-')} {row['size']}",
            *(_number(row[name]) for name in ("step_s", "first_step_s", "text_s", "decode_s", "clip_s", "tflops")),
            f"{row['of_matmul_percent']:.0f} %",
            *(_number(row[name]) for name in ("peak_gb", "error_percent", "frames_error_percent")),
        )
        for row in measured.values()
        if "step_s" in row
    ]
    matmul = measured.get("matrix product", {}).get("tflops", 0.0)
    note = f"matmul {matmul:,.1f} TFLOP/s. * extrapolated from the timed steps to the model's own number"
    if told["device"]["type"] != "cuda":
        note += ". TINY MODELS ON A CPU: this tests the bench, the numbers mean nothing"
    report.show(f"Wan on {told['device']['name']}", _COLUMNS, clips, note)
    for row in measured.values():
        if "job_s" in row:
            seconds = ", ".join(f"{second:.2f} s" for second in row["job_s"])
            print(
                f"two jobs of {row['model']} {row['size']}, end to end: {seconds}; the device idle between them "
                f"{row['idle_s']:.3f} s, {row['idle_percent']:.2f} % of a job"
            )
        elif "attention_tflops" in row:
            for what in ("attention_tflops", "linear_tflops"):
                print(f"{what}: " + ", ".join(f"{name} {_number(rate)}" for name, rate in row[what].items()))
        elif "decode" in row:
            for name, one in row["decode"].items():
                print(
                    f"VAE {name}: decode {one['s']:.2f} s, {one['peak_gb']:.1f} GB, {one['error_percent']:.3f} % off; "
                    f"encode {row['encode_s'][name]:.2f} s"
                )
    for row in rows:
        if row["state"] != "measured":
            print(f"{row['state']}: {row['row']}: {(row.get('why') or row.get('error', '')).splitlines()[0][:200]}")


def _number(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else "-" if value is None else str(value)[:60]
