"""What is measured of a model, the numbers that matter most first. Each row stands alone: one that fails or has no time
left loses nothing but itself."""

import tempfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.gpu import parts
from bench.gpu.blocks import Blocks, ways
from bench.gpu.journal import Journal
from bench.gpu.measure import Setting, two_jobs
from bench.gpu.stand import Stand
from models import catalog
from models.acceleration import tuning
from models.catalog.model import Model

#: a row is begun only with time for its forwards at this share of the matmul rate, and for what comes besides: weights
#: and text, a decode, the compiler
_STOCK_SHARE, _FARM_SHARE = 0.4, 0.65
_BESIDES_S, _DECODE_S, _COMPILE_S = 5.0, 8.0, 30.0
#: two models are not held at once on a card with less, GB
_BOTH_GB = 125.0

#: kinds of rows that have what the farm makes of a pipeline
_FARM = ("farm", "two jobs", "three steps")

#: model id -> its rows, in two rounds
ROUNDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    catalog.T2V_A14B.id: (
        ("kernels", "480p stock", "480p farm", "two jobs", "vae", "blocks", "480p compiled"),
        (
            "720p farm",
            "480p batched",
            "approximations",
            "720p stock",
            "720p compiled",
            "compiled vae",
            "autotune",
            # for good: rounding to 8 bits cannot be taken back
            "480p fp8",
        ),
    ),
    catalog.TI2V_5B.id: (
        ("three steps", "720p farm", "preview stock", "preview farm", "preview batched", "vae"),
        ("720p stock", "preview blocks", "480p stock", "480p farm"),
    ),
}


@dataclass(frozen=True)
class Size:
    """steps: that are timed, after one that is not."""

    width: int
    height: int
    frames: int
    steps: int = 2


class Rows:
    """One model's."""

    def __init__(self, model: Model, sizes: dict[str, Size], journal: Journal, asked: Namespace, matmul: float) -> None:
        self._model, self._journal, self._asked, self._matmul = model, journal, asked, matmul
        self._clock = journal.clock
        self._settings = {
            word: Setting(model, size.width, size.height, size.frames, asked.steps or size.steps)
            for word, size in sizes.items()
        }
        self._done = {row["row"] for row in journal.told["rows"]}
        # a CPU compiles for minutes
        left_out = set() if self._clock.device.type == "cuda" else {"autotune", "compiled vae"}
        self._rounds = [
            tuple(name for name in names if name not in left_out) for names in ROUNDS[model.id.removesuffix("-tiny")]
        ]
        self._stand: Stand | None = None

    def names(self) -> list[str]:
        """Every row, in order."""
        return [name for names in self._rounds for name in names]

    def wanted(self, name: str) -> bool:
        only = self._asked.only.split(",")
        asked = [one for one in self.names() if any(word in self._full(one) for word in only)]
        # a size's stock row is what the others of that size are compared with
        sizes = {one.split()[0] for one in asked}
        size, _, kind = name.partition(" ")
        if self._full(name) in self._done and (kind != "stock" or self._asked.alone):
            return False
        return name in asked or (kind == "stock" and size in sizes and not self._asked.alone)

    def measure(self, number: int, others: list["Rows"]) -> None:
        """The rows of one round. others: whose weights go when there is no room for both."""
        names = [name for name in self._rounds[number] if self.wanted(name)]
        if names and self._stand is None:
            if self._clock.device.type == "cuda" and self._clock.total_gb() < _BOTH_GB:
                for other in others:
                    other.close()
            row = self._journal.row(f"{self._model.id}: weights", self._build, 10 * _BESIDES_S)
            if row["state"] != "measured":
                return
        for name in names:
            self._row(name)

    def close(self) -> None:
        if self._stand is not None:
            self._stand.close()
            self._stand = None

    def _build(self) -> dict[str, Any]:
        self._clock.forget_peak()
        begun = self._clock.now()
        self._stand = Stand(self._model, self._clock, self._matmul)
        return {"s": self._clock.now() - begun, "gb": self._clock.peak_gb()}

    def _row(self, name: str) -> None:
        size, _, kind = name.partition(" ")
        setting = self._settings.get(size)
        if setting is None:
            # the other rows are of the 480p clip, or of the model's own
            setting, kind = self._settings["720p" if self._model.experts == 1 else "480p"], name
        full = self._full(name)
        row = self._journal.row(full, lambda: self._figures(kind, setting, full), self._needs(kind, setting))
        if kind in _FARM:
            # what is likeliest to fail on a machine that nobody has tried
            for word, without in (("fused", "not fused"), ("compile", "not compiled")):
                if row["state"] == "failed" and getattr(self._asked, word) == "auto":
                    setattr(self._asked, word, "off")
                    other = f"{full}, {without}"
                    row = self._journal.row(
                        other, lambda other=other: self._figures(kind, setting, other), self._needs(kind, setting)
                    )

    def _full(self, name: str) -> str:
        return f"{self._model.id}: {name}"

    def _figures(self, kind: str, setting: Setting, full: str) -> dict[str, Any]:
        stand = self._stand
        assert stand is not None
        tell = self._journal.teller(full)
        own: dict[str, Callable[[], dict[str, Any]]] = {
            "two jobs": lambda: self._two_jobs(stand, setting, catalog.T2V_4STEP.id, None),
            "three steps": lambda: self._two_jobs(stand, setting, self._model.id.removesuffix("-tiny"), 3),
            "kernels": lambda: parts.kernels(self._clock, setting),
            "approximations": lambda: parts.approximations(self._clock, setting),
            "blocks": lambda: self._blocks(stand, setting, kind, lambda told: tell({"ways": told})),
            "autotune": lambda: self._blocks(stand, setting, kind, lambda told: tell({"ways": told})),
            "vae": lambda: self._vae(stand, setting, kind, tell),
            "compiled vae": lambda: self._vae(stand, setting, kind, tell),
        }
        if kind in own:
            return own[kind]()
        plan = None if kind == "stock" else self._plan("fp8" if kind == "fp8" else "bf16")
        if plan is not None and kind in ("compiled", "batched"):
            # both passes at once have no fused blocks either
            plan = replace(plan, fused_blocks="")
        told = stand.measure(setting, plan, kind, batched=kind == "batched").told()
        return told if plan is None else {**told, "tuning": plan.told()}

    def _vae(self, stand: Stand, setting: Setting, kind: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        # compiling takes a minute, and on a CPU several
        if kind == "compiled vae":
            forms: tuple[str, ...] = ("bf16, channels last", "compiled")
        elif self._model.experts == 2:
            forms = tuple(form for form in parts.FORMS if form != "compiled")
        else:
            forms = ("bf16, channels last", "fused", "fused, kernels tried out")
        encode = self._model.experts == 2
        return parts.vae_forms(
            self._clock, stand.vae, setting, tell, forms=forms, encode=encode, profile=self._asked.profile
        )

    def _blocks(
        self, stand: Stand, setting: Setting, kind: str, tell: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        gpu = self._clock.device.type == "cuda"
        tried = [way for way in ways(self._plan("bf16"), gpu) if ("autotune" in way.name) == (kind == "autotune")]
        if self._model.experts == 1:
            tried = [way for way in tried if way.name in ("plain", "compiled") or way.name.startswith("fused")][:4]
            graphs = [replace(way, name="compiled, graphs", mode="reduce-overhead") for way in tried if gpu]
            tried += [way for way in graphs if way.plan.compile]
        return {"ways": Blocks(stand.pipe.transformer, setting, self._clock).try_all(tried, tell, self._asked.profile)}

    def _needs(self, kind: str, setting: Setting) -> float:
        """Seconds that a row is thought to take. A CPU's have no size to speak of."""
        if self._clock.device.type != "cuda":
            return 0.0
        work_s = setting.tflop_per_step * (setting.steps + 1) / self._matmul
        # two renders of four forwards
        jobs_s = setting.tflop_per_step / 2 * 8 / self._matmul / _FARM_SHARE + _DECODE_S + _BESIDES_S
        fixed = {
            **dict.fromkeys(("two jobs", "three steps"), jobs_s),
            **dict.fromkeys(("kernels", "approximations"), _BESIDES_S),
            **dict.fromkeys(("vae", "blocks", "autotune", "compiled vae"), 2 * _DECODE_S),
            "stock": work_s / _STOCK_SHARE + _DECODE_S,
            "farm": work_s / _FARM_SHARE + _DECODE_S / 2,
        }
        return fixed.get(kind, work_s / _FARM_SHARE + _DECODE_S / 2 + _COMPILE_S)

    def _plan(self, precision: str) -> tuning.Tuning:
        asked, device = self._asked, self._clock.device
        wishes = tuning.Wishes(
            attention=asked.attention, fused=asked.fused, compile=asked.compile, fuse_qkv=asked.fuse_qkv, vae=asked.vae
        )
        plan = tuning.plan_for(device, "fp8" if precision == "fp8" else "bf16", wishes)
        if device.type != "cuda" and precision != "fp8":
            # so that the way is walked
            plan = replace(plan, fuse_qkv=True, fused_blocks="native" if asked.fused == "auto" else "")
        return plan

    def _two_jobs(self, stand: Stand, setting: Setting, model_id: str, steps: int | None) -> dict[str, Any]:
        model = catalog.get(f"{model_id}-tiny" if self._model.weights.tiny else model_id)
        plan = self._plan("bf16")
        sizes = (setting.width, setting.height, setting.frames)
        with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as folder, stand.as_loaded(plan):
            return two_jobs(
                stand.pipe, model, self._clock.device, plan=plan, sizes=sizes, folder=Path(folder), steps=steps
            )
