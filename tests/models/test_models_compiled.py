"""Compiled blocks: one graph for all of them, whole on every pipeline, and what looks on stays outside."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipe_parts import CPU, KINDS, STEPS, latents, tiny_pipe

from models import catalog
from models.acceleration import lossy, tuning
from models.render import loading


def _compiled(models_dir: Path, backend: str) -> tuple[float, Any]:
    """(difference to the same pipeline as it comes, the compiled pipeline)."""
    pipe = tiny_pipe(models_dir)
    plain = latents(pipe, "t2v", steps=4)
    for expert in lossy.experts_of(pipe).values():
        tuning.compile_blocks(expert, backend)
    return float((latents(pipe, "t2v", steps=4) - plain).norm() / plain.norm()), pipe


def test_one_graph_serves_all_blocks_and_what_looks_on_stays_outside(models_dir: Path) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    difference, pipe = _compiled(models_dir, "eager")
    assert difference < 1e-5
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    seen = [0]
    handle = pipe.transformer.blocks[0].register_forward_pre_hook(lambda *_: seen.__setitem__(0, seen[0] + 1))
    plain = latents(pipe, "t2v")
    handle.remove()
    assert seen[0] > 0
    with lossy.on(pipe, "taylorseer", STEPS, Path()):
        assert not torch.equal(latents(pipe, "t2v"), plain)
    assert torch.equal(latents(pipe, "t2v"), plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize(
    "kind", ["animate", *(pytest.param(kind, marks=pytest.mark.soak) for kind in ("ti2v-i2v", "vace"))]
)
def test_every_pipelines_blocks_are_whole_graphs(models_dir: Path, kind: str) -> None:
    import torch._dynamo

    torch._dynamo.reset()
    model, task = KINDS[kind]
    pipe = loading.load(catalog.get(model), models_dir, CPU, task).pipe_for(task)
    plain = latents(pipe, kind, steps=2)
    for expert in lossy.experts_of(pipe).values():
        tuning.compile_blocks(expert, "eager")
    assert torch.allclose(latents(pipe, kind, steps=2), plain, atol=1e-5)


_COMPILES = """
import json, sys
import torch
from models.acceleration import runtime, tuning
from models.weights import tiny
runtime.prepare()
tuning.prepare(tuning.Wishes(cache_dir=sys.argv[1]))
import torch._dynamo
torch.manual_seed(0)
expert = tiny._dit(16, 16).eval()
tuning.compile_blocks(expert)
hits, sums = [], []
for frames in (3, 2):
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        made = expert(
            hidden_states=torch.ones(1, 16, frames, 8, 8),
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=torch.ones(1, 512, 32),
            return_dict=False,
        )[0]
    counted = torch._dynamo.utils.counters["inductor"]
    hits.append([counted["fxgraph_cache_miss"], counted["fxgraph_cache_hit"]])
    sums.append(float(made.sum()))
    if sys.argv[2] == "once":
        break
print(json.dumps([hits, sums]))
"""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_compiled_kernels_are_found_again_by_another_process(tmp_path: Path) -> None:
    """Kept over a restart, and by shape. A minute of g++ on two cores, which is why it is not among the others."""

    def compiled(times: str) -> tuple[list[list[int]], list[float]]:
        run = subprocess.run(
            [sys.executable, "-c", _COMPILES, str(tmp_path), times], capture_output=True, check=True, cwd=Path.cwd()
        )
        hits, sums = json.loads(run.stdout.splitlines()[-1])
        return hits, sums

    first, sums = compiled("once")
    again, others = compiled("twice")
    assert first == [[1, 0]]
    # the same shape is read back, another one is compiled
    assert again == [[0, 1], [1, 0]]
    assert others[0] == sums[0]
    assert list(tmp_path.glob("torch-*/**/*.so"))
