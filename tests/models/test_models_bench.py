"""The GPU bench, tiny on a CPU: it must not rot between the days on which there is a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu import build, rows
from bench.gpu.__main__ import main
from bench.gpu.clock import Clock
from bench.gpu.journal import Journal
from bench.gpu.measure import Setting, measure
from models import catalog

CPU = torch.device("cpu")


def test_the_bench_walks_its_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told.json"
    told = main(["--device", "cpu", "--steps", "1", "--out", str(out)])
    assert json.loads(out.read_text()) == told
    named = {row["row"].removeprefix("wan2.2-"): row for row in told["rows"]}
    assert [row["state"] for row in told["rows"]] == ["measured"] * len(named), told["rows"]
    t2v, ti2v = ({name: named[f"{model}: {name}"] for name in names} for model, names in _CLIPS.items())
    assert all(row["step_s"] > 0 < row["clip_s"] > 0 < row["decode_s"] for row in (*t2v.values(), *ti2v.values()))
    assert t2v["480p stock"]["error_percent"] is None
    # fused projections are all that a CPU's plan changes
    assert [t2v[f"{size} farm"]["error_percent"] for size in ("480p", "720p")] == [0, 0]
    assert t2v["720p farm"]["frames_error_percent"] == 0
    assert 0 < t2v["480p batched"]["error_percent"] < 0.01
    assert 0 < ti2v["preview batched"]["error_percent"] < 0.01
    assert 0 < t2v["480p fp8"]["error_percent"] < 30
    jobs = named["t2v-a14b-tiny: two jobs"]
    assert len(jobs["job_s"]) == 2
    assert jobs["prepared"] == ["texts"]
    assert 0 < jobs["idle_percent"] < 100
    forms = named["t2v-a14b-tiny: vae"]["decode"]
    assert forms["fp32"]["error_percent"] == 0 < forms["bf16, channels last"]["error_percent"]
    kernels = named["t2v-a14b-tiny: kernels"]["attention_tflops"]
    assert kernels["native"] > 0
    assert "Flash Attention 3" in kernels["_flash_3"]
    said = capsys.readouterr().out
    assert "the numbers mean nothing" in said
    assert "the device idle between them" in said


_CLIPS = {
    "t2v-a14b-tiny": ["480p stock", "480p farm", "720p stock", "720p farm", "480p batched", "480p fp8"],
    "ti2v-5b-tiny": ["480p stock", "480p farm", "720p stock", "720p farm", "preview stock", "preview batched"],
}


def test_a_row_that_fails_loses_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler, say: the same row is measured again without it."""
    whole = rows.Stand.measure
    tries: list[str] = []

    def sick(self: Any, setting: Setting, plan: Any, name: str, **more: Any) -> Any:
        tries.append(name)
        if tries == ["stock", "farm"]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, setting, plan, name, **more)

    monkeypatch.setattr(rows.Stand, "measure", sick)
    told = main(["--device", "cpu", "--steps", "1", "--only", "t2v-a14b-tiny: 480p f", "--out", str(tmp_path / "o")])
    states = {row["row"].partition(": ")[2]: row["state"] for row in told["rows"][2:]}
    assert states == {
        "480p stock": "measured",
        "480p farm": "failed",
        "480p farm, not compiled": "measured",
        "480p fp8": "measured",
    }
    failed = told["rows"][3]
    assert failed["error"] == "OutOfMemoryError: CUDA out of memory."
    assert "in sick" in failed["where"]


def test_rows_are_on_disk_as_soon_as_they_are_known(tmp_path: Path) -> None:
    out = tmp_path / "told.json"
    journal = Journal(out, Clock(CPU, 100), device="this one")

    def look() -> dict[str, Any]:
        return {"before": json.loads(out.read_text())}

    journal.row("first", lambda: {"s": 1})
    before = journal.row("second", look)["before"]
    assert [(row["row"], row["state"]) for row in before["rows"]] == [("first", "measured"), ("second", "begun")]
    third = journal.row("third", look, needs_s=1000)
    assert third["state"] == "left out"
    assert "100 s were left, it was thought to take 1000 s" in third["why"]
    journal.close()
    assert len(json.loads(out.read_text())["rows"]) == 3


def test_a_row_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    script = """
import sys, threading
from pathlib import Path
from types import SimpleNamespace
from bench.gpu import journal
from bench.gpu.clock import Clock
journal._GRACE_S = 0.1
told = journal.Journal(Path(sys.argv[1]), Clock(SimpleNamespace(type="cpu"), 0.2))
told.row("good", lambda: {"s": 1})
told.row("hangs", lambda: threading.Event().wait())
"""
    out = tmp_path / "told.json"
    done = subprocess.run([sys.executable, "-c", script, str(out)], timeout=60, check=False, cwd=Path.cwd())
    assert done.returncode == 3
    told = json.loads(out.read_text())
    assert told["cut_off"] is True
    assert [row["state"] for row in told["rows"]] == ["measured", "failed"]


class _Ends(Clock):
    """Its time is over when the third step is."""

    looks = 0

    @property
    def left_s(self) -> float:
        self.looks += 1
        return 3 - self.looks


def test_steps_that_were_done_count_when_time_is_over() -> None:
    model = catalog.get("wan2.2-ti2v-5b-tiny")
    clock = _Ends(CPU, 0)
    case, latents, frames = measure(build.pipeline(model, CPU), Setting(model, 64, 64, 9, 8), clock, "stock", 1.0)
    assert case.steps == 2
    assert case.step_s > 0
    assert (case.clip_s, latents, frames) == (None, None, None)


@pytest.mark.parametrize(
    ("model", "billions", "latent"),
    [(catalog.T2V_A14B, 14.29, (16, 21, 60, 104)), (catalog.TI2V_5B, 5.0, (48, 21, 44, 80))],
)
def test_full_size_is_full_size(model: catalog.Model, billions: float, latent: tuple[int, ...]) -> None:
    """Built without memory (torch's meta device): the parameters, their formats, and the work that is divided by."""
    from torch.utils.flop_counter import FlopCounterMode

    meta = torch.device("meta")
    pipe = build.pipeline(model, meta)
    expert = pipe.transformer
    assert sum(one.numel() for one in expert.parameters()) / 1e9 == pytest.approx(billions, rel=0.01)
    assert expert.dtype == pipe.text_encoder.dtype == torch.bfloat16
    assert pipe.vae.dtype == expert.condition_embedder.time_embedder.linear_1.weight.dtype == torch.float32
    _, time, high, wide = latent
    seconds = (
        torch.empty(1, time * high * wide // 4, device=meta) if model.experts == 1 else torch.empty(1, device=meta)
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        expert(
            hidden_states=torch.empty(1, *latent, device=meta, dtype=torch.bfloat16),
            timestep=seconds,
            encoder_hidden_states=torch.empty(1, 512, 4096, device=meta, dtype=torch.bfloat16),
        )
    stride = model.vae_stride[1]
    work = catalog.forward_tflop(model, wide * stride, high * stride, 81)
    assert counter.get_total_flops() / 1e12 == pytest.approx(work, rel=0.01)
