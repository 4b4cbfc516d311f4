"""`python -m bench.gpu`: stock diffusers against the farm's plan at full size, random weights, in under ten minutes.

On a machine without a GPU the same code runs on the tiny models: it tests the bench, its numbers mean nothing.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from bench.gpu import build, show
from bench.gpu.clock import Clock
from bench.gpu.journal import Journal
from bench.gpu.parts import copy_gbs, matmul_tflops, sustained_tflops
from bench.gpu.power import Power
from bench.gpu.rows import Rows, Size
from models import catalog
from models.acceleration import runtime, tuning

#: what is measured on a GPU; TI2V-5B's sides are multiples of 32
FULL = {
    catalog.T2V_A14B.id: {"480p": Size(832, 480, 81), "720p": Size(1280, 720, 81, steps=1)},
    catalog.TI2V_5B.id: {
        "480p": Size(832, 480, 81),
        "720p": Size(1280, 704, 121, steps=2),
        "preview": Size(480, 288, 49, steps=4),
    },
}
_TINY = Size(64, 64, 9)
SMALL = {
    build.SMALL[catalog.T2V_A14B.id]: {"480p": _TINY, "720p": Size(96, 64, 9, steps=1)},
    build.SMALL[catalog.TI2V_5B.id]: {"480p": _TINY, "720p": Size(96, 64, 9, steps=1), "preview": Size(64, 64, 5)},
}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return everything as an object (also written to --out)."""
    asked = _asked(arguments)
    runtime.prepare()
    tuning.prepare(tuning.Wishes(cache_dir=asked.kernels))
    device = runtime.device_of(asked.device)
    gpu = device.type == "cuda"
    clock = Clock(device, asked.budget_s)
    journal = Journal(
        Path(asked.out) if asked.out else None,
        clock,
        json.loads(Path(asked.out).read_text())["rows"] if asked.resume and Path(asked.out).is_file() else None,
        device=runtime.facts(device),
        libraries=runtime.versions(),
        asked=vars(asked),
    )
    power = Power(asked.out and Path(asked.out).with_name("power.csv"))
    journal.card = power.mean
    try:
        row = journal.row("matrix product", lambda: {"tflops": matmul_tflops(clock), "copy_gbs": copy_gbs(clock)})
        if matmul := row.get("tflops"):  # a device that cannot do that does nothing else
            row = journal.row(
                "matrix product, sustained", lambda: {"tflops": sustained_tflops(clock, 3.0 if gpu else 0.1)}
            )
            # what is measured works for longer than a card's power lasts at its highest clock
            matmul = row.get("tflops", matmul)
            models = [
                Rows(catalog.get(model_id), sizes, journal, asked, matmul)
                for model_id, sizes in (FULL if gpu else SMALL).items()
            ]
            for number in range(2):
                for rows in models:
                    rows.measure(number, [other for other in models if other is not rows])
            for rows in models:
                rows.close()
    finally:
        power.close()
        journal.close()
    show.table(journal.told)
    return journal.told


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    out = os.environ.get("OUT")
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", default="auto", help='"auto" (the first GPU, else the CPU), "cpu" or "cuda:0"')
    parser.add_argument("--only", default="", help="only rows whose name holds one of these (a,b), and the stock ones")
    parser.add_argument("--resume", action="store_true", help="go on with what --out holds")
    parser.add_argument("--alone", action="store_true", help="without the stock ones: nothing to compare with")
    parser.add_argument("--profile", type=Path, default=None, help="file for the kernels that take the time")
    parser.add_argument("--steps", type=int, default=None, help="timed denoising steps, after one that is not timed")
    parser.add_argument("--budget-s", type=float, default=540.0, help="what does not fit into this time is left out")
    parser.add_argument("--attention", default="auto", help="a backend of diffusers instead of the device's")
    parser.add_argument("--fused", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--compile", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--fuse-qkv", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--vae", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--kernels", default=None, help="folder of compiled kernels, kept from run to run")
    parser.add_argument(
        "--out",
        default=f"{out}/bench-gpu.json" if out else None,
        help="write everything here after every row (default: bench-gpu.json in the folder that OUT names, if any)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
