"""What VACE and Animate learn from is what their pipelines show to a transformer."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import WanAnimatePipeline, WanVACEPipeline

from tools.tiny import animate, edits, experts, vace

FRAMES, SIDE = 17, 32


@pytest.fixture(scope="module")
def some() -> edits.Edits:
    return edits.some(40, FRAMES, SIDE, generator=torch.Generator().manual_seed(0))


def test_what_the_mask_keeps_is_the_answer(some: edits.Edits) -> None:
    assert torch.equal((some.given - some.clips) * (1 - some.masks), torch.zeros_like(some.clips))
    assert bool(((some.masks == 0) | (some.masks == 1)).all())
    much = some.masks.mean((1, 2, 3, 4))
    assert bool((much == 1).any())
    assert bool(((much > 0.1) & (much < 0.9)).any())


def test_under_the_mask_lies_something_else(some: edits.Edits) -> None:
    """Or the answer could be copied from there. Only what is grey everywhere, or where both are sky, is the same."""
    off = ((some.given - some.clips).abs() * some.masks).amax((1, 2, 3, 4))
    assert bool((off > 0.3).all())


def test_masks_are_spread_over_channels_as_the_pipeline_does(some: edits.Edits) -> None:
    pipe: Any = SimpleNamespace(
        vae_scale_factor_temporal=4,
        vae_scale_factor_spatial=8,
        transformer=SimpleNamespace(config=SimpleNamespace(patch_size=(1, 2, 2))),
    )
    masks = some.masks[:20].expand(-1, 3, -1, -1, -1)
    shown = torch.cat([WanVACEPipeline.prepare_masks(pipe, mask[None], [[]]) for mask in masks])
    assert torch.equal(shown, edits.spread(edits.picked(some.masks[:20])))


def test_a_vace_begins_as_the_expert_it_stands_on() -> None:
    base = experts.make("t2v-high").eval()
    torch.nn.init.normal_(base.proj_out.weight)
    dit = vace.blank().eval()
    vace.stand_on(dit, base.state_dict())
    latents, text, time = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 8, 64), torch.tensor([900.0])
    with torch.no_grad():
        seen = dit(latents, time, text, control_hidden_states=torch.randn(1, 96, 2, 4, 4), return_dict=False)[0]
        assert torch.equal(seen, base(latents, time, text, return_dict=False)[0])


def test_an_animate_is_trained_without_faces_and_sees_the_same() -> None:
    dit = animate.blank().eval()
    for name, weight in dit.named_parameters():
        if ".add_v_proj." in name or (name.startswith("face_adapter.") and ".to_out." in name):
            torch.nn.init.zeros_(weight)
        elif name.startswith(("proj_out", "pose_patch_embedding")):
            torch.nn.init.normal_(weight)
    given, poses, text, time = (
        torch.randn(1, 36, 4, 4, 4),
        torch.randn(1, 16, 3, 4, 4),
        torch.randn(1, 512, 64),
        torch.tensor([500.0]),
    )
    with torch.no_grad():
        whole = dit(
            given,
            time,
            text,
            encoder_hidden_states_image=torch.randn(1, 17, 16),
            pose_hidden_states=poses,
            face_pixel_values=torch.rand(1, 3, 9, 16, 16),
            return_dict=False,
        )[0]
        assert torch.equal(whole, animate.seen(dit, given, time, text, poses))


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_an_animate_is_shown_before_a_segment(goes_on: bool) -> None:
    """The mask of the picture and of the frame that a segment goes on from."""
    pipe: Any = SimpleNamespace(vae_scale_factor_temporal=4)
    mask = WanAnimatePipeline.get_i2v_mask(pipe, 1, animate.LATENTS, 4, 4, int(goes_on), None, torch.float32, "cpu")
    first = torch.zeros_like(mask)
    first[:, :, 0] = float(goes_on)
    assert torch.equal(mask, first)
