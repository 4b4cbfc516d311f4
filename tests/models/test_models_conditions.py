"""What the transformers are really shown of pictures, clips and masks, tensor by tensor: a picture that only changes
the frames somehow is not yet the first one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_parts import I2V, TI2V, Render, draw, moving
from PIL import Image

from models.media import clips, pictures
from models.render.renderer import Renderer

VACE = "wan2.2-vace-fun-a14b-tiny"
SIDE, FRAMES = 64, 9
SIZE = {"width": SIDE, "height": SIDE, "frames": FRAMES}


@contextmanager
def shown(renderer: Renderer) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """(number of the expert, keyword arguments) of every forward while this lasts."""
    loaded = renderer._loaded
    assert loaded is not None
    seen: list[tuple[int, dict[str, Any]]] = []

    def look(number: int) -> Callable[..., None]:
        return lambda _module, _args, given: seen.append((number, given))

    hooks = [e.register_forward_pre_hook(look(n), with_kwargs=True) for n, e in enumerate(loaded.experts)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def pixels(path: Path) -> torch.Tensor:
    """A picture as the VAE takes it: (1, 3, 1, H, W) in [-1, 1]."""
    array = np.asarray(pictures.cover(pictures.read(path), SIDE, SIDE))
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1


def latents(renderer: Renderer, task: str, video: torch.Tensor) -> torch.Tensor:
    """What the VAE makes of pixels, on the scale of the transformer."""
    vae = renderer.pipe_for(task).vae
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean, std = (torch.tensor(v).view(shape) for v in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        found: torch.Tensor = (vae.encode(video).latent_dist.mode() - mean) / std
    return found


@pytest.mark.parametrize("task", ["i2v", "flf2v"])
def test_first_and_last_frame_are_shown_and_marked_as_given(
    renderer: Renderer, render: Render, picture: Path, tmp_path: Path, task: str
) -> None:
    last = draw(tmp_path / "last.png", 200, 320, seed=3)
    inputs = {"image": str(picture)} | ({"last_image": str(last)} if task == "flf2v" else {})
    render(I2V, task, inputs=inputs, steps=1, **SIZE)
    with shown(renderer) as seen:
        render(I2V, task, inputs=inputs, **SIZE)
    given = torch.zeros(1, 3, FRAMES, SIDE, SIDE)
    given[:, :, :1] = pixels(picture)
    marks = torch.zeros(1, 4, 3, SIDE // 8, SIDE // 8)
    marks[:, :, 0] = 1
    if task == "flf2v":
        given[:, :, -1:] = pixels(last)
        marks[:, 3, 2] = 1  # the last of the four frames that the last latent stands for
    expected = latents(renderer, task, given)
    assert {number for number, _ in seen} == {0, 1}
    for _, told in seen:
        hidden = told["hidden_states"]
        assert torch.equal(hidden[:, 16:20], marks)
        assert torch.allclose(hidden[:, 20:], expected, atol=1e-5)


def test_the_5b_keeps_the_first_frame_at_time_zero(renderer: Renderer, render: Render, picture: Path) -> None:
    inputs = {"image": str(picture)}
    render(TI2V, "i2v", inputs=inputs, steps=1)
    with shown(renderer) as seen:
        render(TI2V, "i2v", inputs=inputs)
    expected = latents(renderer, "i2v", pixels(picture))
    tokens = (SIDE // 32) ** 2
    for _, told in seen:
        assert torch.allclose(told["hidden_states"][:, :, :1], expected, atol=1e-5)
        times = told["timestep"]
        assert bool((times[:, :tokens] == 0).all())
        assert bool((times[:, tokens:] > 0).all())


def test_vace_draws_where_the_mask_is_white_and_keeps_where_it_is_black(
    renderer: Renderer, render: Render, tmp_path: Path
) -> None:
    clip = moving(tmp_path / "clip.mkv", 12, SIDE, SIDE, 16)
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    mask.save(tmp_path / "mask.png")
    inputs = {"video": str(clip), "mask": str(tmp_path / "mask.png")}
    render(VACE, "vace", inputs=inputs, steps=1)
    with shown(renderer) as seen:
        render(VACE, "vace", inputs=inputs)
    frames = np.stack([frame for frame, _ in zip(clips.read(clip, 16), range(FRAMES), strict=False)])
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    kept, drawn = video.clone(), video.clone()
    kept[..., : SIDE // 2], drawn[..., SIDE // 2 :] = 0, 0
    for _, told in seen:
        control = told["control_hidden_states"]
        assert torch.allclose(control[:, :16], latents(renderer, "vace", kept), atol=1e-4)
        assert torch.allclose(control[:, 16:32], latents(renderer, "vace", drawn), atol=1e-4)
        assert bool((control[:, 32:, ..., : SIDE // 16] == 1).all())
        assert bool((control[:, 32:, ..., SIDE // 16 :] == 0).all())
