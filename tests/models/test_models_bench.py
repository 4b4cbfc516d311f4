"""The GPU bench, tiny on a CPU: it must not rot between the days on which there is a GPU."""

import json
from pathlib import Path

import pytest

from bench.gpu.__main__ import main


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
