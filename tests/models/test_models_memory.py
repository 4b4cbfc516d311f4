"""What is counted is what is held: forwards at full size without memory, approximations that keep, a machine with too
little of its own, weights that are stored in 8 bits."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import FRAMES, SIDE, T2V, Render, decoded, request_for
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from models import catalog
from models.acceleration.memory import MemoryLimits
from models.catalog.options import LOSSY
from models.planning.plan import GB, Burden, MemoryPlan, Room, Where, choose, needs, refusal
from models.planning.request import RenderFault
from models.render.renderer import Renderer

A14B, ANIMATE = catalog.get("wan2.2-t2v-a14b"), catalog.get("wan2.2-animate-14b")
META = torch.device("meta")


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that are alive at once. `known` are not counted."""

    def __init__(self, known: list[Any]) -> None:
        super().__init__()
        self._bytes: dict[int, int] = {tensor.untyped_storage()._cdata: 0 for tensor in known}
        self._now = self.peak = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, torch.Tensor) and (key := tensor.untyped_storage()._cdata) not in self._bytes:
                self._bytes[key] = size = tensor.untyped_storage().nbytes()
                self._now += size
                self.peak = max(self.peak, self._now)
                weakref.finalize(tensor.untyped_storage(), self._gone, key, size)
        return made

    def _gone(self, key: int, size: int) -> None:
        self._now -= size
        del self._bytes[key]


def held_by_a_forward(model: catalog.Model, frames: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes besides the weights, at 832x480. Two blocks of it: what one has left, the next one needs no more."""
    from diffusers import WanTransformer3DModel

    # a fused attention, as every GPU has it: torch's own for `meta` writes the whole matrix down
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda query, **_: torch.empty_like(query))
    dit, (time, high, wide) = model.dit, model.vae_stride
    with META:
        expert = WanTransformer3DModel(
            num_attention_heads=dit.dim // 128,
            ffn_dim=dit.ffn,
            num_layers=2,
            in_channels=dit.in_channels,
            out_channels=dit.out_channels,
        ).to(torch.bfloat16)
        clip = torch.empty(
            batch, dit.in_channels, 1 + (frames - 1) // time, 480 // high, 832 // wide, dtype=torch.bfloat16
        )
        text = torch.empty(batch, 512, 4096, dtype=torch.bfloat16)
        shape = (batch, clip[0, 0].numel() // 4) if model is catalog.TI2V_5B else (batch,)
        seconds = torch.empty(*shape)
    with Held([*expert.parameters(), *expert.buffers()]) as held, torch.no_grad():
        expert(hidden_states=clip, timestep=seconds, encoder_hidden_states=text, return_dict=False)
    return held.peak


@pytest.mark.parametrize("model", [A14B, catalog.TI2V_5B], ids=lambda model: model.id)
@pytest.mark.parametrize("batched", [False, True], ids=["apart", "batched"])
def test_a_forward_holds_less_than_is_counted(
    model: catalog.Model, batched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = held_by_a_forward(model, 81, 2 if batched else 1, monkeypatch)
    block = (8 * model.dit.dim**2 + 2 * model.dit.dim * model.dit.ffn) * 2
    vae = {8: 0.127e9, 16: 0.705e9}[model.vae_stride[1]] * 4
    plan = MemoryPlan(Where.STREAMED, tiled=True, batched=batched)
    counted = needs(Burden(model, 832, 480, 81), plan).device_bytes - vae - 3 * block
    assert 0.4 * counted < held < 0.9 * counted, f"{held / GB:.2f} GB of {counted / GB:.2f}"


def kept(model: catalog.Model, size: tuple[int, int], frames: int, lossy: str) -> float:
    """Bytes that are counted for an approximation, where denoising decides how many are needed."""
    plan = MemoryPlan(Where.STREAMED, tiled=True)
    without, with_it = (needs(Burden(model, *size, frames, lossy=name), plan).device_bytes for name in (None, lossy))
    return with_it - without


@pytest.mark.parametrize(("size", "gigabytes"), [((832, 480), 13.4 + 0.8), ((1280, 720), 31.0 + 1.8)])
def test_what_pab_keeps_is_counted(size: tuple[int, int], gigabytes: float) -> None:
    """An output of every block's attention: 13 and 31 GB for 81 frames of a 14B model, and its reference frame's."""
    assert kept(ANIMATE, size, 77, "pab") / GB == pytest.approx(gigabytes, rel=0.06)
    assert kept(A14B, size, 81, "pab") / GB > 1.8 * (gigabytes - 2)  # of both experts


def test_the_others_keep_little() -> None:
    for name in set(LOSSY) - {"pab"}:
        assert 0 <= kept(A14B, (1280, 720), 81, name) < 0.4 * GB


def test_pab_is_refused_where_it_does_not_fit(models_dir: Path, tmp_path: Path) -> None:
    room = Room(40 * GB, 256 * GB)
    assert choose(Burden(ANIMATE, 1280, 720, 77), room) is not None
    assert choose(Burden(ANIMATE, 1280, 720, 77, lossy="pab"), room) is None
    text = refusal(Burden(ANIMATE, 1280, 720, 77, lossy="pab"), room)
    assert text.startswith("options.lossy pab keeps")
    assert text.endswith("without it, it fits")
    # full size: it is refused before anybody looks for weights
    tight = Renderer(models_dir, "cpu", limits=MemoryLimits(25 * GB))
    asked = {"guidance": 1.0, "guidance_2": 1.0, "steps": 8, "width": 832, "height": 480, "frames": 81}
    request = request_for(tmp_path, A14B.id, options={"lossy": "pab"}, **asked)
    with pytest.raises(RenderFault, match="without it, it fits") as caught:
        tight.render(request, lambda _: None, lambda: False)
    assert caught.value.code == "does_not_fit"
    assert tight.lane is None


def test_a_machine_with_too_little_memory_of_its_own_is_refused_before_loading(
    models_dir: Path, render: Render, tmp_path: Path
) -> None:
    """A device that holds one expert, on a machine that does not hold the other."""
    model = catalog.get(T2V)
    visits, resident = (
        needs(Burden(model, SIDE, SIDE, FRAMES), MemoryPlan(where)) for where in (Where.EXPERTS_VISIT, Where.RESIDENT)
    )
    assert visits.host_bytes > 0 == resident.host_bytes
    device = visits.device_bytes / 0.94 * 1.001
    poor = Renderer(models_dir, "cpu", limits=MemoryLimits(device, host_bytes=visits.host_bytes * 0.9))
    with pytest.raises(RenderFault, match="of the machine's memory") as caught:
        poor.render(request_for(tmp_path / "poor"), lambda _: None, lambda: False)
    assert caught.value.code == "does_not_fit"
    assert poor.lane is None
    enough = Renderer(models_dir, "cpu", limits=MemoryLimits(device, host_bytes=visits.host_bytes * 1.1))
    for name in "ab":  # the second time the machine holds the model already
        result = enough.render(request_for(tmp_path / name), lambda _: None, lambda: False)
    assert result.recipe["plan"] == Where.EXPERTS_VISIT
    assert result.recipe["frames_sha256"] == render().recipe["frames_sha256"]


def test_weights_stored_in_8_bits_draw_nearly_the_same(models_dir: Path, render: Render, tmp_path: Path) -> None:
    tight = Renderer(models_dir, "cpu", limits=MemoryLimits(fp8=True))
    tight._learnt[T2V] = (0, MemoryPlan(Where.FP8_STORAGE))
    results = [tight.render(request_for(tmp_path / name), lambda _: None, lambda: False) for name in "ab"]
    stored = [p for p in tight.pipe_for("t2v").transformer.parameters() if p.dtype is torch.float8_e4m3fn]
    assert len(stored) > 20
    assert results[0].recipe["plan"] == "stored in fp8"
    assert results[0].recipe["precision"]["transformer"] == "float32"  # what it computes in
    plain = render()
    assert results[0].recipe["frames_sha256"] == results[1].recipe["frames_sha256"] != plain.recipe["frames_sha256"]
    difference = np.abs(decoded(results[0].video).astype(int) - decoded(plain.video))
    # random weights make noise of full contrast of any rounding; another seed is 60 shades off and more
    assert 0 < difference.mean() < 40
