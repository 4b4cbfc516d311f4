"""What is measured of a model, the numbers that matter most first. Each row stands alone: one that fails or has no time
left loses nothing but itself."""

import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.gpu import lean, parts
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

#: model id -> its rows, in two rounds
ROUNDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    catalog.T2V_A14B.id: (
        ("kernels", "480p stock", "blocks", "480p lean", "480p farm", "two jobs", "vae"),
        (
            "720p lean",
            "autotune",
            "approximations",
            "compiled vae",
            "480p batched",
            "720p stock",
            "480p fp8",
            "720p farm",
        ),
    ),
    catalog.TI2V_5B.id: (
        ("three steps", "vae", "preview farm", "preview batched"),
        ("preview blocks", "720p stock", "720p lean", "720p farm", "preview stock", "480p stock", "480p farm"),
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
        #: the way of two_jobs that is tried: "" for the one that was the faster
        self._way = ""
        #: kind -> seconds of a step at 480p
        self._steps: dict[str, float] = {}

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
        if size == "480p" and "step_s" in row:
            self._steps[kind] = row["step_s"]
        if kind in ("two jobs", "three steps") and row["state"] == "failed":
            self._way = "lean" if row.get("way") == "farm" else "farm"
            other = f"{full}, {self._way}"
            self._journal.row(other, lambda: self._figures(kind, setting, other), self._needs(kind, setting))
            self._way = ""
        if kind == "farm" and row["state"] == "failed" and self._asked.compile == "auto":
            # the compiler is what is likeliest to fail on a machine that nobody has tried
            self._asked.compile = "off"
            plain = f"{full}, not compiled"
            self._journal.row(plain, lambda: self._figures("farm", setting, plain), self._needs("stock", setting))

    def _full(self, name: str) -> str:
        return f"{self._model.id}: {name}"

    def _figures(self, kind: str, setting: Setting, full: str) -> dict[str, Any]:
        stand = self._stand
        assert stand is not None
        tell = self._journal.teller(full)
        match kind:
            case "two jobs":
                return self._two_jobs(stand, setting, catalog.T2V_4STEP.id, None)
            case "three steps":
                return self._two_jobs(stand, setting, self._model.id.removesuffix("-tiny"), 3)
            case "kernels":
                return parts.kernels(self._clock, setting)
            case "approximations":
                return parts.approximations(self._clock, setting)
            case "blocks" | "autotune":
                return self._blocks(stand, setting, kind, lambda told: tell({"ways": told}))
            case "vae" | "compiled vae":
                return self._vae(stand, setting, kind, tell)
            case "lean":
                with self._lean(stand):
                    return stand.measure(setting, self._plan("lean"), kind).told()
        plan = None if kind == "stock" else self._plan("fp8" if kind == "fp8" else "bf16")
        return stand.measure(setting, plan, kind, batched=kind == "batched").told()

    def _vae(self, stand: Stand, setting: Setting, kind: str, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        # compiling takes a minute, and on a CPU several
        if kind == "compiled vae":
            forms: tuple[str, ...] = ("bf16, channels last", "compiled")
        elif self._model.experts == 2:
            forms = tuple(form for form in parts.FORMS if form != "compiled")
        else:
            forms = ("bf16, channels last", "lean", "lean, kernels tried out")
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
            tried = [way for way in tried if way.name in ("plain", "farm") or way.name.startswith("lean")][:4]
            tried += [replace(way, name="farm, graphs", mode="reduce-overhead") for way in tried if way.name == "farm"]
        told = Blocks(stand.pipe.transformer, setting, self._clock).try_all(tried, tell, self._asked.profile)
        forms = {way.name: way.form for way in tried if way.form is not None}
        fits = {name: told[name]["ms"] for name in forms if "ms" in told.get(name, {})}
        if fits and self._model.experts == 2:
            self._asked.form = forms[min(fits, key=lambda name: fits[name])]
        return {"ways": told, "lean": str(self._asked.form)}

    @contextmanager
    def _lean(self, stand: Stand) -> Iterator[None]:
        gpu = self._clock.device.type == "cuda"
        form = self._asked.form or lean.Form("cudnn" if gpu else "math")
        with ExitStack() as stack:
            if self._model.experts == 1:
                stack.enter_context(lean.one_time(stand.pipe))
            stack.enter_context(lean.on(stand.pipe, form))
            stack.enter_context(stand.lean_vae())
            yield

    def _needs(self, kind: str, setting: Setting) -> float:
        """Seconds that a row is thought to take. A CPU's have no size to speak of."""
        if self._clock.device.type != "cuda":
            return 0.0
        work_s = setting.tflop_per_step * (setting.steps + 1) / self._matmul
        match kind:
            case "stock":
                return work_s / _STOCK_SHARE + _DECODE_S
            case "lean":
                return work_s / _FARM_SHARE + _DECODE_S / 2
            case "two jobs" | "three steps":
                # two renders of four forwards
                return setting.tflop_per_step / 2 * 8 / self._matmul / _FARM_SHARE + _DECODE_S + _BESIDES_S
            case "kernels" | "approximations":
                return _BESIDES_S
            case "vae" | "blocks" | "autotune" | "compiled vae":
                return 2 * _DECODE_S
        return work_s / _FARM_SHARE + _DECODE_S / 2 + _COMPILE_S

    def _plan(self, precision: str) -> tuning.Tuning:
        asked, device = self._asked, self._clock.device
        wishes = tuning.Wishes(attention=asked.attention, compile=asked.compile, fuse_qkv=asked.fuse_qkv, vae=asked.vae)
        plan = tuning.plan_for(device, "fp8" if precision == "fp8" else "bf16", wishes)
        if precision == "lean":
            return replace(plan, compile=False, fuse_qkv=True)
        if device.type != "cuda" and precision != "fp8":
            plan = replace(plan, fuse_qkv=True)  # so that the way is walked
        return plan

    def _two_jobs(self, stand: Stand, setting: Setting, model_id: str, steps: int | None) -> dict[str, Any]:
        model = catalog.get(f"{model_id}-tiny" if self._model.weights.tiny else model_id)
        # the way that was the faster one
        farm = self._steps.get("farm", 1e9) < self._steps.get("lean", 1e9) if not self._way else self._way == "farm"
        self._journal.teller("")({"way": "farm" if farm else f"lean, {self._asked.form}"})
        plan = self._plan("bf16" if farm else "lean")
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="wanfarm-bench-"))
            # the plan first: fused projections are what the other way finds
            stack.enter_context(stand.as_farm(plan))
            if not farm:
                stack.enter_context(self._lean(stand))
            sizes = (setting.width, setting.height, setting.frames)
            return two_jobs(
                stand.pipe, model, self._clock.device, plan=plan, sizes=sizes, folder=Path(folder), steps=steps
            )
