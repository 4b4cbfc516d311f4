"""What the trained tiny model draws is looked at: scene and colour are measured in the pictures, by plain sums
(tools.tiny.ruler). A picture says scene and colour right by chance in one of 28."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from drawn_parts import first_pictures, seen
from torch import Tensor

from tools.tiny import words, world

#: (prompt, scene, colour)
ASKED = (
    ("a red square moves up, water", "water", "red"),
    ("a blue star grows on a sunny day", "day", "blue"),
    ("a red circle jumps in the snow", "snow", "red"),
    ("a yellow heart turns at night", "night", "yellow"),
)
PROMPTS = [prompt for prompt, _, _ in ASKED]

Draw = Callable[..., Tensor]


@pytest.fixture(scope="module")
def drawn(loaded: Callable[[str], Any]) -> Draw:
    """drawn(prompts, **changes): the first pictures of clips of five frames, (N, 3, 128, 128) in [-1, 1]; each once."""
    pipe = loaded("t2v")
    kept: dict[Any, Tensor] = {}

    def draw(prompts: Sequence[str] = PROMPTS, *, seed: int = 0, negative: str = "", guidance: float = 2.0) -> Tensor:
        key = (tuple(prompts), seed, negative, guidance)
        if key not in kept:
            kept[key] = first_pictures(pipe, prompts, seed=seed, negative=negative, guidance=guidance)
        return kept[key]

    return draw


def test_scene_and_colour_of_the_prompt_are_in_the_picture(drawn: Draw) -> None:
    assert seen(drawn()) == [(scene, colour) for _, scene, colour in ASKED]


def test_another_seed_draws_another_picture_of_the_same(drawn: Draw) -> None:
    one, other = drawn(), drawn(seed=50)
    assert seen(other) == seen(one)
    assert float((one - other).abs().mean()) > 0.03


def test_words_outside_the_vocabulary_are_ignored(drawn: Draw) -> None:
    said = ["Cinematic 35mm: a crimson box rises, slowly, over the sea!", *PROMPTS[1:]]
    assert torch.equal(drawn(said)[0], drawn()[0])


def test_the_negative_prompt_takes_away_and_more_guidance_takes_more(drawn: Draw) -> None:
    """The colour is left open, and what is said against one decides it; without guidance nothing is."""
    prompts = ["a circle, water"]
    bare = drawn(prompts, negative="red", guidance=1.0)
    assert torch.equal(bare, drawn(prompts, negative="blue", guidance=1.0))
    assert seen(drawn(prompts, negative="red")) != seen(drawn(prompts, negative="blue"))
    assert warmth(drawn(prompts, negative="red")) < warmth(bare) - 0.5
    assert warmth(drawn(prompts, negative="blue")) > warmth(bare) + 0.2


def test_each_expert_knows_its_own_noise(loaded: Callable[[str], Any]) -> None:
    """Of drawn clips under noise, the first expert finds more of a strong one, the second of a weak one."""
    pipe, random = loaded("t2v"), torch.Generator().manual_seed(0)
    scenes = world.some(4, generator=random)
    config = pipe.vae.config
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latents_mean, config.latents_std))
    texts = words.table()[words.row(scenes.named)]
    texts = torch.nn.functional.pad(texts, (0, 0, 0, words.PADDED - words.TOKENS))
    with torch.no_grad():
        clean = (pipe.vae.encode(world.draw(scenes, 5, 128, 128)).latent_dist.mode() - mean) / std
        noise = torch.randn(clean.shape, generator=random)

        def error(expert: Any, level: float) -> float:
            given = level * noise + (1 - level) * clean
            found = expert(given, torch.full((4,), level * 1000), texts, return_dict=False)[0]
            return float((found - (noise - clean)).square().mean())

        high, low = pipe.transformer, pipe.transformer_2
        assert error(high, 0.95) < 0.9 * error(low, 0.95)
        assert error(low, 0.5) < 0.7 * error(high, 0.5)


def warmth(pictures: Tensor) -> float:
    """Red less blue in the middle, -2 to 2."""
    middle = pictures[:, :, 40:80, 44:84]
    return float((middle[:, 0] - middle[:, 2]).mean())
