"""LoRAs that were trained for the tiny text to video are looked at: four steps without guidance draw what many with it
do, and a style shows as much as it is asked for."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn_parts import first_pictures, psnr, seen
from torch import Tensor

from models import catalog
from models.planning.request import Lora
from models.render import loading, loras
from models.render.noise_schedule import scheduler_for
from models.weights import trained
from models.weights.digest import sha256_of
from tools.tiny import ruler

#: (prompt, scene, colour, shape)
ASKED = (
    ("a red square moves up, water", "water", "red", "square"),
    ("a blue star grows on a sunny day", "day", "blue", "star"),
    ("a purple square shrinks in the snow", "snow", "purple", "square"),
    ("a yellow heart turns at night", "night", "yellow", "heart"),
)
PROMPTS = tuple(prompt for prompt, *_ in ASKED)
LANE = catalog.get(catalog.tiny_of(catalog.T2V_4STEP.id))
#: as long as the clips that they learned from
FOUR_STEPS: dict[str, Any] = {"steps": 4, "guidance": 1.0, "frames": 17}


@pytest.fixture(scope="module")
def four_steps(models_dir: Path) -> Tensor:
    """What the lane of four steps draws."""
    pipe = loading.load(LANE, models_dir, torch.device("cpu"), "t2v").pipe_for("t2v")
    pipe.scheduler = scheduler_for(pipe.scheduler, LANE.defaults.shift, LANE.sigmas)
    return first_pictures(pipe, PROMPTS, **FOUR_STEPS)


def test_four_steps_without_guidance_draw_what_the_prompt_says(four_steps: Tensor) -> None:
    assert seen(four_steps) == [(scene, colour) for _, scene, colour, _ in ASKED]
    assert [ruler.shape_of(picture) for picture in four_steps] == [shape for *_, shape in ASKED]


def test_four_steps_are_nearer_to_many_guided_ones_than_four_of_the_plain_model(
    loaded: Callable[[str], Any], four_steps: Tensor
) -> None:
    pipe = loaded("t2v")
    kept = pipe.scheduler
    try:
        pipe.scheduler = scheduler_for(kept, LANE.defaults.shift)
        many = first_pictures(pipe, PROMPTS[:2], steps=12, guidance=3.0, frames=17)
        pipe.scheduler = scheduler_for(kept, LANE.defaults.shift, LANE.sigmas)
        plain = first_pictures(pipe, PROMPTS[:2], **FOUR_STEPS)
    finally:
        pipe.scheduler = kept
    assert psnr(four_steps[:2], many) > psnr(plain, many) + 3


@pytest.fixture
def inked(loaded: Callable[[str], Any]) -> Iterator[Callable[[float], Tensor]]:
    """inked(scale): pictures with the style in ink at that strength."""
    pipe = loaded("t2v")
    files = [(expert, trained.lora(f"t2v-ink-{expert}")) for expert in ("high", "low")]
    worn = tuple(Lora(str(path), sha256_of(path), expert) for expert, path in files)

    def draw(scale: float) -> Tensor:
        loras.put_on(pipe, tuple(replace(lora, scale=scale) for lora in worn))
        return first_pictures(pipe, PROMPTS[:2], guidance=2.0, steps=6)

    yield draw
    loras.take_off(pipe)


def test_a_style_takes_the_colour_away_at_half_weight_half_of_it(
    loaded: Callable[[str], Any], inked: Callable[[float], Tensor]
) -> None:
    none, half, full = (colourful(inked(scale)) for scale in (0.0, 0.5, 1.0))
    loras.take_off(loaded("t2v"))
    bare = colourful(first_pictures(loaded("t2v"), PROMPTS[:2], guidance=2.0, steps=6))
    assert none == pytest.approx(bare, abs=1e-4)
    assert full < 0.35 * bare
    assert 0.4 * (bare - full) < bare - half < 0.7 * (bare - full)


def colourful(pictures: Tensor) -> float:
    """How far the brightest and the darkest of a pixel's three colours are apart, 0 to 1."""
    return float((pictures.amax(1) - pictures.amin(1)).mean() / 2)
