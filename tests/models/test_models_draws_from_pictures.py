"""What the trained tiny i2v makes of pictures is looked at: it begins with the first, ends with the last when there is
one, and moves as the prompt says."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn_parts import psnr
from PIL import Image
from torch import Tensor

from farm.embedded import samples
from tools.tiny import ruler, sheets, world

SIDES = ("left", "right")


def heart(moment: float) -> Tensor:
    """The demo's heart as it moves up, (3, 128, 128) in [-1, 1]; 0 is the beginning."""
    return world.draw(sheets.heart(), 1, 128, 128, time=torch.tensor([moment]))[0, :, 0]


def image(picture: Tensor) -> Any:
    return Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def clip(loaded: Callable[[str], Any]) -> Callable[..., Tensor]:
    """clip(prompts, last): (N, 3, 17, 128, 128) in [-1, 1], from the heart's first picture on."""
    pipe = loaded("i2v")

    def draw(prompts: list[str], last: Tensor | None = None) -> Tensor:
        made = pipe(
            image=image(heart(0)),
            last_image=None if last is None else image(last),
            prompt=prompts,
            negative_prompt=[""] * len(prompts),
            height=128,
            width=128,
            num_frames=17,
            num_inference_steps=8,
            guidance_scale=3.0,
            generator=[torch.Generator().manual_seed(number) for number in range(len(prompts))],
            output_type="pt",
        ).frames
        return made.movedim(1, 2) * 2 - 1

    return draw


def test_the_picture_of_the_demo_is_of_the_drawn_world() -> None:
    with Image.open(io.BytesIO(samples.heart())) as shipped:
        assert shipped.tobytes() == image(heart(0)).tobytes()


def test_a_clip_begins_with_the_picture_and_moves_as_it_is_told(clip: Callable[..., Tensor]) -> None:
    made = clip([f"a red heart moves {side}, water" for side in SIDES])
    for one in made:
        assert psnr(one[:, 0], heart(0)) > 20
        # nothing else is as near: not where the heart may be later
        assert psnr(one[:, 0], heart(1)) < 14
        assert abs(ruler.place_of(one[:, 0])[0] - 0.5) < 0.06
    left, right = (ruler.place_of(one[:, -1])[0] for one in made)
    assert left < 0.38
    assert right > 0.6


def test_the_experts_cannot_take_each_others_place(loaded: Callable[[str], Any], clip: Callable[..., Tensor]) -> None:
    """The one for little noise sharpens; the other in its place leaves the picture rougher."""
    pipe, prompt = loaded("i2v"), ["a red heart moves left, water"]
    (right,) = clip(prompt)
    pipe.transformer, pipe.transformer_2 = pipe.transformer_2, pipe.transformer
    try:
        (swapped,) = clip(prompt)
    finally:
        pipe.transformer, pipe.transformer_2 = pipe.transformer_2, pipe.transformer
    assert psnr(swapped[:, 0], heart(0)) < psnr(right[:, 0], heart(0)) - 1.5


def test_with_a_last_picture_a_clip_ends_on_it(clip: Callable[..., Tensor]) -> None:
    """The prompt does not say where to."""
    (made,) = clip(["a red heart, water"], last=heart(1))
    assert psnr(made[:, 0], heart(0)) > 20
    assert psnr(made[:, -1], heart(1)) > 18
    assert psnr(made[:, -1], heart(0)) < 14
