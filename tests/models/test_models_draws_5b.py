"""What the trained tiny model like TI2V-5B draws is looked at: from a text alone, and from a picture that it keeps."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from drawn_parts import first_pictures, psnr, seen
from PIL import Image
from torch import Tensor

from tools.tiny import ruler, sheets, world

SIDE = 256
#: (prompt, scene, colour, shape); it draws stars seldom and hearts not at all
ASKED = (
    ("a red square moves up, water", "water", "red", "square"),
    ("a green triangle moves left, day", "day", "green", "triangle"),
    ("a red circle jumps in the snow", "snow", "red", "circle"),
)
#: its clips are as long as those that it learned from: shorter ones lose their shape
WHOLE: dict[str, Any] = {"side": SIDE, "frames": 17, "guidance": 3.0}


@pytest.fixture(scope="module")
def drawn(loaded: Callable[[str], Any]) -> Tensor:
    """The first pictures of clips of all that is asked."""
    return first_pictures(loaded("ti2v-t2v"), [prompt for prompt, *_ in ASKED], **WHOLE)


def test_scene_colour_and_shape_of_the_prompt_are_in_the_picture(drawn: Tensor) -> None:
    assert seen(drawn) == [(scene, colour) for _, scene, colour, _ in ASKED]
    assert [ruler.shape_of(picture) for picture in drawn] == [shape for *_, shape in ASKED]


def test_another_seed_draws_another_picture_of_the_same(loaded: Callable[[str], Any], drawn: Tensor) -> None:
    other = first_pictures(loaded("ti2v-t2v"), [ASKED[0][0]], seed=50, steps=6, **WHOLE)
    assert seen(other) == seen(drawn[:1])
    assert float((other - drawn[:1]).abs().mean()) > 0.03


def test_a_clip_begins_with_the_picture_and_moves_as_it_is_told(loaded: Callable[[str], Any]) -> None:
    first = world.draw(sheets.heart(), 1, SIDE, SIDE, time=torch.zeros(1))[0, :, 0]
    made = loaded("ti2v-i2v")(
        image=Image.fromarray(((first + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()),
        prompt="a red heart moves up, water",
        height=SIDE,
        width=SIDE,
        num_frames=17,
        num_inference_steps=6,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).frames[0]
    clip = made * 2 - 1
    assert psnr(clip[0], first) > 22
    places = [ruler.place_of(picture)[:2] for picture in (clip[0], clip[-1])]
    assert places[0] == pytest.approx(ruler.place_of(first)[:2], abs=0.05)
    assert places[1][1] < places[0][1] - 0.1
    assert abs(places[1][0] - places[0][0]) < 0.1
