"""How the bench's journal is read by people: a table of the clips, then the rest, one line each."""

import json
import sys
from pathlib import Path
from typing import Any

_COLUMNS = ("row", "s/step", "first", "text", "decode", "s/clip*", "TFLOP/s", "of matmul", "GB", "err %", "frames %")
#: what rows write down piece by piece
_PIECEMEAL = {"ways", "decode", "passes_ms"}


def table(told: dict[str, Any]) -> None:
    rows = told["rows"]
    # a row that was cut off in the middle has found something, too
    measured = {row["row"]: row for row in rows if row["state"] == "measured" or _PIECEMEAL & row.keys()}
    _clips(told, measured)
    for row in measured.values():
        for key, tell in _TOLD.items():
            if key in row:
                tell(row)
                break
    for row in rows:
        if row["state"] != "measured":
            print(f"{row['state']}: {row['row']}: {(row.get('why') or row.get('error') or '-').splitlines()[0][:200]}")


def _clips(told: dict[str, Any], measured: dict[str, Any]) -> None:
    """In plain text: the machine of a GPU may have nothing that draws tables."""
    lines = [_COLUMNS]
    for row in measured.values():
        if "step_s" in row:
            lines.append((
                f"{row['row'].removeprefix('wan2.2-')} {row['size']}",
                *(_number(row[name]) for name in ("step_s", "first_step_s", "text_s", "decode_s", "clip_s", "tflops")),
                f"{row['of_matmul_percent']:.0f} %",
                *(_number(row[name]) for name in ("peak_gb", "error_percent", "frames_error_percent")),
            ))  # fmt: skip
    print(f"Wan on {told.get('device', {}).get('name')}")
    first = max(len(line[0]) for line in lines)
    for line in lines:
        print(f"{line[0]:{first}} " + " ".join(f"{cell:>9}" for cell in line[1:]))
    print("* extrapolated from the timed steps to the model's own number")
    if told.get("device", {}).get("type") != "cuda":
        print("TINY MODELS ON A CPU: this tests the bench, the numbers mean nothing")


def _ways(row: dict[str, Any]) -> None:
    print(f"{row['row']}: ms a block, s/step, TFLOP/s, first s, error %")
    for name, one in row["ways"].items():
        if "ms" in one:
            figures = (one[key] for key in ("ms", "step_s", "tflops", "first_s", "error_percent"))
            print(f"  {name:34} " + " ".join(f"{figure:9.3f}" for figure in figures))
        else:
            print(f"  {name:34} {one['error'].splitlines()[0][:150]}")


def _forms(row: dict[str, Any]) -> None:
    for name, one in row["decode"].items():
        off = one.get("error_percent", 0)
        print(
            f"{row['row']} {name}: decode {one['s']:.2f} s (first {one['warm_s']:.2f}), {one['peak_gb']:.1f} GB, "
            f"{off:.3f} % off; encode {_number(row['encode_s'].get(name))} s"
        )


def _jobs(row: dict[str, Any]) -> None:
    seconds = ", ".join(f"{second:.2f} s" for second in row["job_s"])
    print(
        f"two jobs of {row['model']} {row['size']}, end to end: {seconds}; the device idle between them "
        f"{row['idle_s']:.3f} s, {row['idle_percent']:.2f} % of a job; {row['stages_s']}"
    )


def _kernels(row: dict[str, Any]) -> None:
    for what in (key for key in row if isinstance(row[key], dict)):
        print(f"{what}: " + ", ".join(f"{name} {_number(rate)}" for name, rate in row[what].items()))


def _rate(row: dict[str, Any]) -> None:
    print({key: value for key, value in row.items() if key not in ("state", "took_s", "at_s")})


def _checks(row: dict[str, Any]) -> None:
    for name, one in row["checks"].items():
        print(
            f"fused {name}: " + (f"{one['error_percent']:.4f} % off" if "error_percent" in one else one["error"][:900])
        )


def _passes(row: dict[str, Any]) -> None:
    for name, one in row["passes_ms"].items():
        figures = ", ".join(f"{what} {_number(figure)}" for what, figure in one.items())
        print(f"both passes of a step of {name}, ms: {figures}")


def _preflight(row: dict[str, Any]) -> None:
    print(f"preflight ended with {row['status']}: " + "; ".join(row["said"])[:1500])


def _number(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else "-" if value is None else str(value)[:60]


#: what a row has -> how it is told; the first that fits. A clip's figures are in the table
_TOLD = {
    "job_s": _jobs,
    "ways": _ways,
    "attention_tflops": _kernels,
    "step_s": lambda _: None,
    "tflops": _rate,
    "decode": _forms,
    "checks": _checks,
    "passes_ms": _passes,
    "said": _preflight,
}


if __name__ == "__main__":
    table(json.loads(Path(sys.argv[1]).read_text()))
