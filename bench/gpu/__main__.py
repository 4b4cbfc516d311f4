"""`python -m bench.gpu`: stock diffusers against the farm's plan at full size, random weights, in under ten minutes.

On a machine without a GPU the same code runs on the tiny models: it tests the bench, its numbers mean nothing.
"""

import argparse
import gc
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import report
from bench.gpu import build
from bench.gpu.clock import Clock, matmul_tflops
from bench.gpu.measure import Case, Setting, error_of, measure, two_jobs
from models import catalog, runtime, speed

#: (model, width, height, frames); TI2V-5B's sides are multiples of 32
FULL = (
    (catalog.T2V_A14B.id, 832, 480, 81),
    (catalog.T2V_A14B.id, 1280, 720, 81),
    (catalog.TI2V_5B.id, 832, 480, 81),
    (catalog.TI2V_5B.id, 1280, 704, 81),
)
SMALL = ((build.SMALL[catalog.T2V_A14B.id], 64, 64, 9), (build.SMALL[catalog.TI2V_5B.id], 64, 64, 9))
#: a measurement is begun only with time for its steps at this share of the matmul rate, and this much besides
_SLOWEST, _BESIDES_S = 0.35, 45.0
_COLUMNS = (
    *("model, size, plan", "s/step", "first", "text", "decode", "s/clip*", "TFLOP/s", "of matmul", "GB", "err %"),
    "frames %",
)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return everything as an object (also written to --json)."""
    asked = _asked(arguments)
    runtime.prepare()
    speed.prepare(speed.Wishes(cache_dir=asked.kernels))
    device = runtime.device_of(asked.device)
    gpu = device.type == "cuda"
    clock = Clock(device, asked.minutes * 60)
    matmul = matmul_tflops(clock)
    sizes = [one for one in (FULL if gpu else SMALL) if asked.model in one[0]]
    told: dict[str, Any] = {"device": runtime.facts(device), "libraries": runtime.versions(), "matmul_tflops": matmul}
    cases: list[Case] = []
    for model_id in dict.fromkeys(one[0] for one in sizes):
        settings = [_setting(one, asked.steps) for one in sizes if one[0] == model_id]
        cases += _model(settings, clock, asked, told)
    told["cases"] = [case.told() for case in cases]
    _show(told, cases, gpu)
    if asked.json:
        Path(asked.json).write_text(json.dumps(told, indent=1) + "\n")
    return told


def _model(settings: list[Setting], clock: Clock, asked: Any, told: dict[str, Any]) -> list[Case]:
    """Every size stock first, then the same pipeline as the farm runs it: one set of weights, so outputs compare."""
    model, matmul = settings[0].model, told["matmul_tflops"]
    pipe = build.pipeline(model, clock.device)
    cases, stock = [], {}
    for setting in settings:
        if not _time_for(setting, clock, told, "stock"):
            continue
        case, latents, frames = measure(pipe, setting, clock, "stock", matmul)
        stock[setting.size] = (latents.cpu(), frames)
        cases.append(case)
    for name, plan in _plans(clock.device, asked):
        speed.apply(pipe, plan)
        for setting in settings:
            if not _time_for(setting, clock, told, name):
                continue
            case, latents, frames = measure(pipe, setting, clock, name, matmul)
            if setting.size in stock:
                case.error = error_of(latents.cpu(), stock[setting.size][0])
                case.frames_error = error_of(frames, stock[setting.size][1])
            cases.append(case)
        if name == "farm" and model.experts == 2 and _time_for(settings[0], clock, told, "two jobs"):
            told["two_jobs"] = _two_jobs(pipe, settings[0], clock.device, plan)
        if plan.fuse_qkv:
            for expert in speed._experts(pipe):
                speed.unfuse_qkv(expert)
    del pipe, stock
    gc.collect()
    clock.forget_peak()
    return cases


def _time_for(setting: Setting, clock: Clock, told: dict[str, Any], name: str) -> bool:
    """Whether it can be measured in the time that is left; what cannot is told."""
    enough = (
        clock.left_s > setting.tflop_per_step * (setting.steps + 1) / (_SLOWEST * told["matmul_tflops"]) + _BESIDES_S
    )
    if not enough:
        told.setdefault("left_out", []).append(f"{setting.model.id} {setting.size}, {name}: no time left")
    return enough


def _plans(device: Any, asked: Any) -> list[tuple[str, speed.Plan]]:
    """What the farm does here, after that what is asked for to compare. Each is put on top of the one before."""
    wishes = speed.Wishes(attention=asked.attention, compile=asked.compile, fuse_qkv=asked.fuse_qkv, vae=asked.vae)
    plan = speed.plan_for(device, wishes=wishes)
    if device.type != "cuda":
        plan = replace(plan, fuse_qkv=True)  # so that the way is walked
    plans = [("farm", plan)]
    if asked.fp8:
        plans.append(("farm, fp8", speed.plan_for(device, "fp8", wishes)))
    return plans


def _two_jobs(pipe: Any, setting: Setting, device: Any, plan: speed.Plan) -> dict[str, Any]:
    distilled = catalog.T2V_4STEP.id
    model = catalog.get(f"{distilled}-tiny" if setting.model.weights.tiny else distilled)
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as folder:
        sizes = (setting.width, setting.height, setting.frames)
        ends, between_s, idle = two_jobs(pipe, model, device, plan=plan, sizes=sizes, folder=Path(folder))
    return {"model": model.id, "size": setting.size, "job_s": ends, "between_s": between_s, "idle_percent": idle}


def _setting(one: tuple[str, int, int, int], steps: int) -> Setting:
    model_id, width, height, frames = one
    return Setting(catalog.get(model_id), width, height, frames, steps)


def _show(told: dict[str, Any], cases: list[Case], gpu: bool) -> None:
    rows = [
        (
            f"{case.model} {case.size}, {case.plan}",
            *(case.step_s, case.first_step_s, case.text_s, case.decode_s, case.clip_s),
            *(case.tflops, f"{case.of_matmul:.0f} %", case.peak_gb, case.error, case.frames_error),
        )
        for case in cases
    ]
    note = f"matmul {told['matmul_tflops']:,.1f} TFLOP/s. * extrapolated from the timed steps to the model's own number"
    if not gpu:
        note += ". TINY MODELS ON A CPU: this tests the bench, the numbers mean nothing"
    report.show(f"Wan on {told['device']['name']}", _COLUMNS, rows, note)
    if jobs := told.get("two_jobs"):
        seconds = ", ".join(f"{second:.2f} s" for second in jobs["job_s"])
        print(
            f"two jobs of {jobs['model']} {jobs['size']}, end to end: {seconds}; idle between them "
            f"{jobs['between_s']:.2f} s, idle in all {jobs['idle_percent']:.1f} %"
        )
    for left_out in told.get("left_out", ()):
        print(f"not measured: {left_out}")


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--device", default="auto", help='"auto" (the first GPU, else the CPU), "cpu" or "cuda:0"')
    parser.add_argument("--model", default="", help="only models whose id holds this")
    parser.add_argument("--steps", type=int, default=2, help="timed denoising steps, after one that is not timed")
    parser.add_argument("--minutes", type=float, default=9.5, help="nothing is begun in the last minute of these")
    parser.add_argument("--fp8", action="store_true", help="the 8-bit lane too")
    parser.add_argument("--attention", default="auto", help="a backend of diffusers instead of the device's")
    parser.add_argument("--compile", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--fuse-qkv", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--vae", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--kernels", default=None, help="folder of compiled kernels, kept from run to run")
    parser.add_argument("--json", default=None, help="write everything that was measured here")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
