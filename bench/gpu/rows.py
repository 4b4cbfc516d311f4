"""What is measured of a model, the numbers that matter most first. Each row stands alone: one that fails or has no time
left loses nothing but itself."""

import tempfile
from argparse import Namespace
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.gpu import parts
from bench.gpu.journal import Journal
from bench.gpu.measure import Setting, two_jobs
from bench.gpu.stand import Stand
from models import catalog
from models.acceleration import tuning
from models.catalog.model import Model

#: a row is begun only with time for its forwards at this share of the matmul rate, and for what comes besides: weights
#: and text, a decode, the compiler
_STOCK_SHARE, _FARM_SHARE = 0.4, 0.65
_BESIDES_S, _DECODE_S, _COMPILE_S = 5.0, 20.0, 45.0


@dataclass(frozen=True)
class Size:
    """steps: that are timed, after one that is not."""

    width: int
    height: int
    frames: int
    steps: int = 2


def rows_of(model: Model, sizes: dict[str, Size], journal: Journal, asked: Namespace, matmul: float) -> None:
    """Measure the model's rows into the journal, on the journal's clock."""
    rows = _Rows(model, sizes, journal, asked, matmul)
    if not any(rows.wanted(name) for name in rows.names()):
        return
    if journal.row(f"{model.id}: weights", rows.build, 10 * _BESIDES_S)["state"] == "measured":
        rows.measure()
    rows.close()


class _Rows:
    def __init__(self, model: Model, sizes: dict[str, Size], journal: Journal, asked: Namespace, matmul: float) -> None:
        self._model, self._journal, self._asked, self._matmul = model, journal, asked, matmul
        self._clock = journal.clock
        self._settings = {
            word: Setting(model, size.width, size.height, size.frames, asked.steps or size.steps)
            for word, size in sizes.items()
        }
        self._stand: Stand | None = None

    def names(self) -> list[str]:
        """Every row, in order."""
        if self._model.experts == 2:
            # 8-bit linears cannot be taken back: last
            return [
                *("480p stock", "480p farm", "two jobs", "kernels", "vae"),
                *("720p stock", "720p farm", "480p batched", "480p fp8"),
            ]
        return [f"{size} {kind}" for size in ("480p", "720p") for kind in ("stock", "farm")] + [
            *("preview stock", "preview farm", "preview batched")
        ]

    def wanted(self, name: str) -> bool:
        only = self._asked.only
        asked = [one for one in self.names() if only in self._full(one)]
        # a size's stock row is what the others of that size are compared with
        sizes = {one.split()[0] for one in asked}
        size, _, kind = name.partition(" ")
        return name in asked or (kind == "stock" and size in sizes)

    def build(self) -> dict[str, Any]:
        self._clock.forget_peak()
        begun = self._clock.now()
        self._stand = Stand(self._model, self._clock, self._matmul)
        return {"s": self._clock.now() - begun, "gb": self._clock.peak_gb()}

    def measure(self) -> None:
        for name in self.names():
            if not self.wanted(name):
                continue
            size, _, kind = name.partition(" ")
            setting = self._settings.get(size)
            if setting is None:
                # the other rows are of the 480p clip
                setting, kind = self._settings["480p"], name
            row = self._journal.row(
                self._full(name), lambda k=kind, s=setting: self._figures(k, s), self._needs(kind, setting)
            )
            if kind == "farm" and row["state"] == "failed" and self._asked.compile == "auto":
                # the compiler is what is likeliest to fail on a machine that nobody has tried
                self._asked.compile = "off"
                plain = f"{self._full(name)}, not compiled"
                self._journal.row(plain, lambda s=setting: self._figures("farm", s), self._needs("stock", setting))

    def close(self) -> None:
        if self._stand is not None:
            self._stand.close()

    def _full(self, name: str) -> str:
        return f"{self._model.id}: {name}"

    def _figures(self, kind: str, setting: Setting) -> dict[str, Any]:
        stand = self._stand
        assert stand is not None
        if kind == "two jobs":
            return self._two_jobs(stand, setting)
        if kind == "kernels":
            return parts.kernels(self._clock, setting)
        if kind == "vae":
            return parts.vae_forms(self._clock, stand.vae, setting)
        plan = None if kind == "stock" else self._plan("fp8" if kind == "fp8" else "bf16")
        return stand.measure(setting, plan, kind, batched=kind == "batched").told()

    def _needs(self, kind: str, setting: Setting) -> float:
        """Seconds that a row is thought to take. A CPU's have no size to speak of."""
        if self._clock.device.type != "cuda":
            return 0.0
        work_s = setting.tflop_per_step * (setting.steps + 1) / self._matmul
        match kind:
            case "stock":
                return work_s / _STOCK_SHARE + _DECODE_S + _BESIDES_S
            case "two jobs":
                # two renders of four forwards
                return setting.tflop_per_step / 2 * 8 / self._matmul / _FARM_SHARE + _DECODE_S + _BESIDES_S
            case "kernels":
                return _BESIDES_S
            case "vae":
                return 2 * _DECODE_S
        return work_s / _FARM_SHARE + _DECODE_S / 2 + _COMPILE_S

    def _plan(self, precision: str) -> tuning.Tuning:
        asked, device = self._asked, self._clock.device
        wishes = tuning.Wishes(attention=asked.attention, compile=asked.compile, fuse_qkv=asked.fuse_qkv, vae=asked.vae)
        plan = tuning.plan_for(device, precision, wishes)
        if device.type != "cuda" and precision != "fp8":
            plan = replace(plan, fuse_qkv=True)  # so that the way is walked
        return plan

    def _two_jobs(self, stand: Stand, setting: Setting) -> dict[str, Any]:
        distilled = catalog.T2V_4STEP.id
        model = catalog.get(f"{distilled}-tiny" if self._model.weights.tiny else distilled)
        plan = self._plan("bf16")
        with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as folder, stand.as_farm(plan):
            sizes = (setting.width, setting.height, setting.frames)
            return two_jobs(stand.pipe, model, self._clock.device, plan=plan, sizes=sizes, folder=Path(folder))
