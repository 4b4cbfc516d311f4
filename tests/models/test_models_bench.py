"""The GPU bench, tiny on a CPU: it must not rot between the days on which there is a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.gpu import build, rows, short
from bench.gpu.__main__ import main
from bench.gpu.clock import Clock
from bench.gpu.journal import Journal
from bench.gpu.measure import Setting, measure
from models import catalog
from models.acceleration import tuning

CPU = torch.device("cpu")


def test_the_bench_measures_a_few_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told.json"
    told = main(["--device", "cpu", "--steps", "1", "--out", str(out), "--only", "tiny: preview b"])
    assert json.loads(out.read_text()) == told
    assert [row["state"] for row in told["rows"]] == ["measured"] * len(told["rows"]), told["rows"]
    named = {row["row"].removeprefix("wan2.2-"): row for row in told["rows"]}
    batched = named["ti2v-5b-tiny: preview batched"]
    assert batched["step_s"] > 0 < batched["decode_s"]
    assert 0 < batched["error_percent"] < 0.01
    assert "the numbers mean nothing" in capsys.readouterr().out


@pytest.mark.soak
def test_the_bench_walks_its_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told.json"
    told = main(["--device", "cpu", "--steps", "1", "--out", str(out)])
    assert json.loads(out.read_text()) == told
    named = {row["row"].removeprefix("wan2.2-"): row for row in told["rows"]}
    assert [row["state"] for row in told["rows"]] == ["measured"] * len(named), told["rows"]
    t2v, ti2v = ({name: named[f"{model}: {name}"] for name in names} for model, names in _CLIPS.items())
    assert all(row["step_s"] > 0 < row["clip_s"] > 0 < row["decode_s"] for row in (*t2v.values(), *ti2v.values()))
    assert t2v["480p stock"]["error_percent"] is None
    # fused projections and blocks are what a CPU's plan has
    assert t2v["480p farm"]["tuning"]["fused_blocks"] == "native"
    assert t2v["480p farm"]["error_percent"] < 0.01
    # what is measured before its stock row has nothing to be compared with
    assert t2v["720p farm"]["error_percent"] is None
    assert [t2v[f"{size} compiled"]["error_percent"] for size in ("480p", "720p")] == [0, 0]
    assert t2v["720p compiled"]["frames_error_percent"] == 0
    assert 0 < t2v["480p batched"]["error_percent"] < 0.01
    assert 0 < ti2v["preview batched"]["error_percent"] < 0.01
    # fused blocks, which know one time for the whole clip
    assert 0 < ti2v["480p farm"]["error_percent"] < 0.01
    assert 0 < t2v["480p fp8"]["error_percent"] < 30
    for jobs in (named["t2v-a14b-tiny: two jobs"], named["ti2v-5b-tiny: three steps"]):
        assert len(jobs["job_s"]) == 2
        assert jobs["prepared"] == ["texts"]
        assert 0 < jobs["idle_percent"] < 100
    ways = named["t2v-a14b-tiny: blocks"]["ways"]
    assert ways["plain"]["error_percent"] == 0 <= ways["fused"]["error_percent"] < 0.01
    kernels = named["t2v-a14b-tiny: kernels"]["attention_tflops"]
    assert kernels["native"] > 0
    assert "Flash Attention 3" in kernels["_flash_3"]
    assert "fa3_fwd_interface" in kernels["fa3-fwd"]
    said = capsys.readouterr().out
    assert "the numbers mean nothing" in said
    assert "the device idle between them" in said
    _forms_are_what_they_are_called(named["t2v-a14b-tiny: vae"]["decode"])
    _shares_are_of_what_lasts(named)


@pytest.mark.soak
def test_the_short_bench_walks_its_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told.json"
    told = short.main(["--device", "cpu", "--budget-s", "600", "--out", str(out)])
    assert [row["state"] for row in told["rows"]] == ["measured"] * len(told["rows"]), told["rows"]
    named = {row["row"].removeprefix("wan2.2-"): row for row in told["rows"]}
    checks = named["what is fused, against diffusers' own"]
    assert all(0 <= one["error_percent"] < checks["bound_percent"] for one in checks["checks"].values())
    assert named["t2v-a14b-tiny: cut down, farm"]["blocks"] == ("fused", None)
    assert named["t2v-a14b-tiny: cut down, farm"]["error_percent"] < 0.01
    assert 0 < named["ti2v-5b-tiny: farm"]["error_percent"] < 0.01
    assert named["ti2v-5b-tiny: farm"]["clip_s"] > 0
    for row in named["ti2v-5b-tiny: passes"]["passes_ms"].values():
        assert min(row["apart"], row["together"], row["fused"]) > 0
        assert 0 < max(row["error_percent"], row["fused_error_percent"]) < 0.01
    assert "both passes of a step of 64x64x5" in capsys.readouterr().out
    # whoever goes on after a lost device tries nothing twice but the weights
    again = short.main(["--device", "cpu", "--budget-s", "600", "--out", str(out), "--resume"])
    assert {row["row"] for row in again["rows"][len(told["rows"]) :]} == {"A14B, cut down: weights", "TI2V-5B: weights"}


def _forms_are_what_they_are_called(forms: dict[str, Any]) -> None:
    """On the H200 four number formats took the same time and had no error: an earlier row had rounded the VAE that all
    of them were copied from."""
    assert forms["fp32"]["error_percent"] == 0 < forms["bf16"]["error_percent"]
    assert forms["bf16, channels last"]["error_percent"] > 0
    assert forms["fused"]["error_percent"] > 0


def _shares_are_of_what_lasts(named: dict[str, Any]) -> None:
    """A matrix product alone reached 781 TFLOP/s on the H200 for a fifth of a second, and 656 under its power limit."""
    lasting = named["matrix product, sustained"]["tflops"]
    row = named["t2v-a14b-tiny: 480p stock"]
    assert row["of_matmul_percent"] == pytest.approx(100 * row["tflops"] / lasting)


_CLIPS = {
    "t2v-a14b-tiny": [
        *("480p stock", "480p farm", "480p compiled", "720p stock", "720p farm", "720p compiled"),
        *("480p batched", "480p fp8"),
    ],
    "ti2v-5b-tiny": [
        *("480p stock", "480p farm", "720p stock", "720p farm", "preview stock", "preview batched"),
    ],
}


def test_no_row_leaves_anything_behind_on_the_pipeline() -> None:
    """What is stock after every way that was tried is what it was before."""
    stand = rows.Stand(catalog.get("wan2.2-t2v-a14b-tiny"), Clock(CPU, 100), 1.0)
    plan = tuning.Tuning(fused_blocks="native", fuse_qkv=True, vae="bf16", fused_vae=True)
    for way in (stand.as_farm(plan), stand.as_loaded(plan), stand.as_stock()):
        with way:
            pass
        assert stand.pipe.vae is stand.vae
        assert stand.vae.dtype == torch.float32
        assert not any("forward" in vars(module) for module in stand.vae.modules())
        assert not any("forward" in vars(module) for module in stand.pipe.transformer.modules())
        assert tuning.attention_of(stand.pipe.transformer) == {"native"}


def test_a_machine_with_a_gpu_needs_no_part_of_the_farm() -> None:
    """What is carried to it is torch's world: no Redis, no Celery, no Flask, nothing that draws tables."""
    script = """
import sys
for name in ("redis", "celery", "kombu", "flask", "minio", "pydantic", "rich", "click", "httpx"):
    sys.modules[name] = None
import bench.gpu.__main__, bench.gpu.preflight, bench.gpu.short
from models.render import loading, renderer
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
def test_a_row_that_fails_loses_nothing_but_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of our own or the compiler, say: the same row is measured again without the one and the other."""
    whole = rows.Stand.measure
    tries: list[str] = []

    def sick(self: Any, setting: Setting, plan: Any, name: str, **more: Any) -> Any:
        tries.append(name)
        if tries[-1] == "farm" and len(tries) < 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(self, setting, plan, name, **more)

    monkeypatch.setattr(rows.Stand, "measure", sick)
    told = main(["--device", "cpu", "--steps", "1", "--only", "t2v-a14b-tiny: 480p f", "--out", str(tmp_path / "o")])
    states = {row["row"].partition(": ")[2]: row["state"] for row in told["rows"][3:]}
    assert states == {
        "480p stock": "measured",
        "480p farm": "failed",
        "480p farm, not fused": "failed",
        "480p farm, not compiled": "measured",
        "480p fp8": "measured",
    }
    failed = told["rows"][4]
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
    [
        (catalog.TI2V_5B, 5.0, (48, 21, 44, 80)),
        pytest.param(catalog.T2V_A14B, 14.29, (16, 21, 60, 104), marks=pytest.mark.soak),
    ],
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
