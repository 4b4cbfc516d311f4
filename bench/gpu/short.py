"""`python -m bench.gpu.short`: under two minutes of a GPU. Whether what models.acceleration computes itself is right on
it, and what one block of A14B takes; TI2V-5B in three steps; both passes of a step in one batch.

A14B is cut down to a few blocks of each expert, at full width: its steps prove the way, a block alone gives the time.
On a machine without a GPU the same code runs on the tiny models: it tests the bench, its numbers mean nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.gpu import build, show
from bench.gpu.blocks import Blocks, Way
from bench.gpu.clock import Clock
from bench.gpu.journal import Journal
from bench.gpu.measure import Setting
from bench.gpu.parts import matmul_tflops, sustained_tflops, vae_forms
from bench.gpu.power import Power
from bench.gpu.stand import Stand
from bench.gpu.together import passes
from models import catalog
from models.acceleration import fused_blocks, fused_vae, runtime, tuning
from models.acceleration.attention import FLASH_3, has_flash_3
from models.acceleration.fused_blocks import FusedForm
from models.catalog.model import Model

#: blocks of each expert that is cut down
_LAYERS = 4
#: TI2V-5B as its distilled sisters render
_STEPS = 3
#: seconds that a row that does not end has when the time is over
_GRACE_S = 3.0
_VAE_FORMS = ("bf16, channels last", "fused")
#: (width, height, frames) of small clips of TI2V-5B, and what they are without a GPU
_SMALL = ((256, 160, 17), (320, 192, 49), (480, 288, 49), (640, 352, 49), (832, 480, 49))
_TINY = ((64, 64, 5), (64, 64, 9))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return everything as an object (also written to --out)."""
    asked = _asked(arguments)
    began = time.perf_counter()
    look = _preflight() if asked.device != "cpu" else None
    runtime.prepare()
    tuning.prepare(tuning.Wishes())
    device = runtime.device_of(asked.device)
    clock = Clock(device, asked.budget_s - (time.perf_counter() - began))
    out = Path(asked.out) if asked.out else None
    before = json.loads(out.read_text())["rows"] if asked.resume and out is not None and out.is_file() else None
    facts = {"device": runtime.facts(device), "libraries": runtime.versions(), "asked": vars(asked)}
    journal = Journal(out, clock, before, grace_s=_GRACE_S, **facts)
    power = Power(None)
    journal.card = power.mean
    try:
        Short(journal, device.type == "cuda").measure(look)
    finally:
        power.close()
        journal.close()
    show.table(journal.told)
    return journal.told


class Short:
    """The rows, in the order of their worth. A row that a bench before this one has tried is not tried again."""

    def __init__(self, journal: Journal, gpu: bool) -> None:
        self._journal, self._clock, self._gpu = journal, journal.clock, gpu
        self._done = {row["row"] for row in journal.told["rows"]}
        a14b, ti2v = (
            catalog.get(one.id if gpu else build.SMALL[one.id]) for one in (catalog.T2V_A14B, catalog.TI2V_5B)
        )
        self._a14b, self._ti2v = a14b, replace(ti2v, defaults=replace(ti2v.defaults, steps=_STEPS, guidance=1.0))
        self._matmul = 1.0
        self._plan = tuning.Tuning(fused_blocks="native", fuse_qkv=True, vae="bf16", fused_vae=True)

    def measure(self, look: "subprocess.Popen[str] | None") -> None:
        """look: the preflight that is running."""
        if look is not None:
            self._row("preflight", lambda: _told(look))
        checked = self._row("what is fused, against diffusers' own", lambda: _checks(self._clock.device))
        if self._gpu:
            # what this measures compiles nothing, but for one row
            self._plan = replace(tuning.plan_for(self._clock.device), compile=False)
            self._journal.tell(plan=self._plan.told(), checked=checked.get("checks"))
        self._row("matrix product", lambda: {"tflops": matmul_tflops(self._clock)})
        rate = self._row("matrix product, sustained", lambda: {"tflops": sustained_tflops(self._clock, self._s(2.0))})
        self._matmul = rate.get("tflops", self._matmul)
        cut = replace(self._a14b, dit=replace(self._a14b.dit, layers=_LAYERS)) if self._gpu else self._a14b
        self._with(cut, "A14B, cut down", self._of_a14b)
        self._with(self._ti2v, "TI2V-5B", self._of_ti2v)

    def _of_a14b(self, stand: Stand) -> None:
        name, model = stand.model.id, stand.model
        clip = Setting(model, *((832, 480, 81) if self._gpu else (64, 64, 9)), 2)
        large = Setting(self._a14b, *((1280, 720, 81) if self._gpu else (96, 64, 9)), 1)
        whole = replace(clip, model=self._a14b)
        self._row(f"{name}: blocks", lambda: self._blocks(stand, whole, 2), 6)
        self._row(f"{name}: cut down, stock", lambda: self._clip(stand, clip, None), 8)
        self._row(f"{name}: cut down, farm", lambda: self._clip(stand, clip, self._plan), 6)
        self._row(f"{name}: vae", lambda: self._vae(stand, clip, encode=True), 9)
        self._row(f"{name}: 720p blocks", lambda: self._blocks(stand, large, 1), 10)

    def _of_ti2v(self, stand: Stand) -> None:
        name, model, plan = stand.model.id, stand.model, self._plan
        clip = Setting(model, *((1280, 704, 121) if self._gpu else (64, 64, 9)), _STEPS - 1)
        third = replace(clip, frames=41 if self._gpu else 9)
        tried = stand.measure
        self._row(f"{name}: stock", lambda: tried(clip, None, "stock", decoded=False).told(), 6)
        self._row(f"{name}: farm", lambda: tried(clip, plan, "farm").told(), 12)
        self._row(f"{name}: vae", lambda: self._vae(stand, third, encode=False), 10)
        self._row(f"{name}: passes", lambda: self._passes(stand), 8)
        plain = replace(plan, fused_blocks="")
        self._row(f"{name}: plain", lambda: tried(clip, plain, "plain", decoded=False).told(), 6)
        if self._gpu:  # a CPU compiles for minutes
            compiled = replace(plain, compile=True)
            self._row(f"{name}: compiled", lambda: tried(clip, compiled, "compiled", decoded=False).told(), 22)

    def _with(self, model: Model, name: str, rows: Callable[[Stand], None]) -> None:
        """The rows of a model whose weights are there meanwhile."""
        made: list[Stand] = []

        def build_it() -> dict[str, Any]:
            begun = self._clock.now()
            made.append(Stand(model, self._clock, self._matmul))
            return {"s": self._clock.now() - begun, "gb": self._clock.peak_gb()}

        # weights are made again when another process goes on
        self._journal.row(f"{name}: weights", build_it, self._s(8))
        if made:
            rows(made[0])
            made.pop().close()

    def _row(self, name: str, figures: Callable[[], dict[str, Any]], needs_s: float = 0.0) -> dict[str, Any]:
        if name in self._done:
            return {}
        return self._journal.row(name, figures, self._s(needs_s))

    def _s(self, seconds: float) -> float:
        """A CPU's rows have no size to speak of."""
        return seconds if self._gpu else 0.0

    def _blocks(self, stand: Stand, setting: Setting, rounds: int) -> dict[str, Any]:
        """rounds: one is for a clip so large that one attention is enough."""
        fused = replace(self._plan, fuse_qkv=True)
        attentions = [*([FLASH_3] if self._gpu and has_flash_3() else []), "_native_cudnn" if self._gpu else "native"]
        ways = [Way("plain", tuning.Tuning())]
        ways += [Way(f"fused, {attention}", fused, FusedForm(attention)) for attention in attentions[:rounds]]
        tell = self._journal.teller("")
        blocks = Blocks(stand.pipe.transformer, setting, self._clock)
        return {"ways": blocks.try_all(ways, lambda told: tell({"ways": told}), rounds=rounds)}

    def _clip(self, stand: Stand, setting: Setting, plan: tuning.Tuning | None) -> dict[str, Any]:
        told = stand.measure(setting, plan, "stock" if plan is None else "farm").told()
        # of a clip that nobody can render
        return {**told, "clip_s": None, "blocks": plan and tuning.blocks_of(stand.pipe, plan)}

    def _vae(self, stand: Stand, setting: Setting, *, encode: bool) -> dict[str, Any]:
        tell = self._journal.teller("")
        return vae_forms(self._clock, stand.vae, setting, tell, forms=_VAE_FORMS, encode=encode)

    def _passes(self, stand: Stand) -> dict[str, Any]:
        clips = _SMALL if self._gpu else _TINY
        tell = self._journal.teller("")
        with stand.as_loaded(self._plan):
            return passes(stand, self._clock, clips, self._plan.fused_blocks, lambda told: tell({"passes_ms": told}))


def _checks(device: Any) -> dict[str, Any]:
    """How far what is fused is from diffusers' own on this device, or with what it broke."""
    gpu = device.type == "cuda"
    attentions = (*([FLASH_3] if gpu and has_flash_3() else []), *(["_native_cudnn"] if gpu else []))
    tried: dict[str, Callable[[], float]] = {
        f"blocks, {name}": partial(fused_blocks.error_on, device, name) for name in (*attentions, "native")
    }
    for name, residual in (("VAE", False), ("VAE of TI2V-5B", True)):
        tried[name] = partial(fused_vae.error_on, device, residual=residual)
    checks: dict[str, Any] = {}
    for name, error in tried.items():
        begun = time.perf_counter()
        try:
            checks[name] = {"error_percent": 100 * error(), "s": round(time.perf_counter() - begun, 2)}
        except Exception:
            # all of it: nobody can look again
            checks[name] = {"error": traceback.format_exc()}
            print(f"{name}:\n{checks[name]['error']}", flush=True)
    return {"checks": checks, "bound_percent": 100 * tuning._MOST_ERROR}


def _preflight() -> "subprocess.Popen[str]":
    """While this process imports what it needs."""
    command = [sys.executable, "-m", "bench.gpu.preflight"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _told(look: "subprocess.Popen[str]") -> dict[str, Any]:
    try:
        said, _ = look.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        look.kill()
        said, _ = look.communicate()
    return {"status": look.returncode, "said": said[-6000:].splitlines()}


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    out = os.environ.get("OUT")
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.short", description=__doc__)
    parser.add_argument("--device", default="auto", help='"auto" (the first GPU, else the CPU), "cpu" or "cuda:0"')
    parser.add_argument("--budget-s", type=float, default=100.0, help="what does not fit into this time is left out")
    parser.add_argument("--resume", action="store_true", help="go on with what --out holds")
    parser.add_argument("--out", default=f"{out}/bench-gpu.json" if out else None, help="written after every row")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
