"""The GPU bench, tiny on a CPU: it must not rot between the days on which there is a GPU."""

import json
from pathlib import Path

import pytest
import torch

from bench.gpu import build
from bench.gpu.__main__ import main
from models import catalog


def test_the_bench_walks_its_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = main(["--device", "cpu", "--model", "t2v", "--steps", "1", "--fp8", "--json", str(tmp_path / "told.json")])
    assert json.loads((tmp_path / "told.json").read_text()) == told
    assert [case["plan"] for case in told["cases"]] == ["stock", "farm", "farm, fp8"]
    stock, farm, fp8 = told["cases"]
    assert stock["step_s"] > 0 < stock["clip_s"]
    # fused projections are all that a CPU's plan changes
    assert farm["error"] == farm["frames_error"] == 0
    assert 0 < fp8["error"] < 30
    assert len(told["two_jobs"]["job_s"]) == 2
    assert 0 < told["two_jobs"]["idle_percent"] < 100
    assert "the numbers mean nothing" in capsys.readouterr().out
    assert "left_out" not in told


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
