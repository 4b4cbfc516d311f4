"""What the trained tiny VACE and Animate make of drawn clips is looked at: VACE keeps what a mask keeps and draws what
the prompt says in the rest; it moves a thing as a silhouette moves. Animate moves the thing of a picture as a clip's
skeleton moves."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from model_parts import Render, decoded, lossless
from PIL import Image
from torch import Tensor

from tools.tiny import animate, ruler, world

VACE, ANIMATE = "wan2.2-vace-fun-a14b-tiny", "wan2.2-animate-14b-tiny"
SIDE = 128
#: of clips that are redrawn by a mask; those of Animate are two segments of nine that share one
FRAMES, LONGER = 9, 17
#: without guidance: one pass a step, and as right
CHEAP: dict[str, Any] = {"width": SIDE, "height": SIDE, "steps": 8, "guidance": 1.0}
#: pixels of a box around a thing that stays where it is, and how far from its edge both sides are measured
BOX, NEAR = (20, 108), 8


def scenes(colour: str, shape: str, motion: str, scene: str) -> world.Scenes:
    named = [list(slot).index(word) for slot, word in zip(world.SLOTS, (colour, shape, motion, scene), strict=True)]
    return world.Scenes(torch.tensor([named]), torch.full((1, 16), 0.5))


def clip(path: Path, pictures: Tensor) -> str:
    """Write (3, T, H, W) in [-1, 1]."""
    return str(lossless(path, ((pictures + 1) * 127.5).round().permute(1, 2, 3, 0).numpy()))


def still(path: Path, *words: str) -> str:
    picture = world.draw(scenes(*words), 1, SIDE, SIDE, time=torch.zeros(1))[0, :, 0]
    Image.fromarray(((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(path)
    return str(path)


def made(render: Render, model: str, task: str, prompt: str, inputs: dict[str, str], frames: int = FRAMES) -> Tensor:
    """The frames, (3, T, H, W) in [-1, 1]."""
    both = 1.0 if model == VACE else None
    result = render(model, task, prompt=prompt, inputs=inputs, frames=frames, guidance_2=both, **CHEAP)
    return torch.from_numpy(decoded(result.video)).permute(3, 0, 1, 2).float() / 127.5 - 1


def psnr(one: Tensor, other: Tensor, where: Tensor) -> float:
    return float(10 * torch.log10(4 / ((one - other) ** 2)[..., where].mean()))


def some(frames: Tensor) -> Tensor:
    """The first picture, the middle one and the last, (3, 3, H, W)."""
    return frames[:, [0, frames.shape[1] // 2, -1]].movedim(1, 0)


def seen(picture: Tensor) -> tuple[str, str | None]:
    return ruler.scene_of(picture), ruler.colour_of(picture)


def boxes() -> tuple[Tensor, Tensor]:
    """(H, W) what is inside of the box and what is outside, both without what is near its edge."""
    axis = torch.arange(SIDE)

    def within(low: int, high: int) -> Tensor:
        on = (axis >= low) & (axis < high)
        return on[:, None] & on[None]

    return within(BOX[0] + NEAR, BOX[1] - NEAR), ~within(BOX[0] - NEAR, BOX[1] + NEAR)


def mask(path: Path, *, inside: bool) -> str:
    """White inside of the box, or outside of it."""
    picture = np.full((SIDE, SIDE), 0 if inside else 255, np.uint8)
    picture[BOX[0] : BOX[1], BOX[0] : BOX[1]] = 255 if inside else 0
    Image.fromarray(picture).save(path)
    return str(path)


def test_vace_draws_the_prompt_where_the_mask_is_white_and_keeps_the_rest(render: Render, tmp_path: Path) -> None:
    """A box around a thing is white, and what lies under it is another thing than the prompt's."""
    given = world.draw(scenes("red", "square", "turns", "day"), FRAMES, SIDE, SIDE)[0]
    inputs = {"video": clip(tmp_path / "clip.mkv", given), "mask": mask(tmp_path / "mask.png", inside=True)}
    frames = made(render, VACE, "vace", "a blue circle turns, day", inputs)
    within, without = boxes()
    assert [seen(picture) for picture in some(frames)] == [("day", "blue")] * 3
    assert psnr(frames, given, without) > 22
    assert psnr(frames, given, within) < 12


def test_vace_keeps_a_thing_and_draws_what_is_around_it(render: Render, tmp_path: Path) -> None:
    """All but the box is white, and grey in the clip. The prompt says nothing of the thing: with the mask inverted,
    another one is drawn in the box (6 to 7 dB)."""
    whole = world.draw(scenes("red", "square", "turns", "day"), FRAMES, SIDE, SIDE)[0]
    given = torch.zeros_like(whole)
    given[..., BOX[0] : BOX[1], BOX[0] : BOX[1]] = whole[..., BOX[0] : BOX[1], BOX[0] : BOX[1]]
    inputs = {"video": clip(tmp_path / "clip.mkv", given), "mask": mask(tmp_path / "mask.png", inside=False)}
    frames = made(render, VACE, "vace", "day", inputs)
    within, without = boxes()
    assert [seen(picture) for picture in some(frames)] == [("day", "red")] * 3
    assert psnr(frames, given, within) > 13
    assert psnr(frames, given, without) < 13


def places(pictures: Tensor) -> list[float]:
    """How far to the right the thing is, in each picture."""
    return [ruler.place_of(picture)[0] for picture in pictures.movedim(1, 0)]


def apart(one: list[float], other: list[float]) -> float:
    return max(abs(here - there) for here, there in zip(one, other, strict=True))


def test_vace_moves_a_thing_as_a_silhouette_moves(render: Render, tmp_path: Path) -> None:
    """The prompt says no motion."""
    asked = scenes("green", "circle", "left", "snow")
    wanted = places(world.draw(asked, LONGER, SIDE, SIDE)[0])
    dark = world.silhouette(asked, LONGER, SIDE, SIDE)[0]
    video = clip(tmp_path / "dark.mkv", (2 * dark - 1).expand(3, -1, -1, -1))
    frames = made(render, VACE, "vace", "a green circle, snow", {"video": video}, LONGER)
    assert [seen(picture) for picture in some(frames)] == [("snow", "green")] * 3
    assert wanted[0] - wanted[-1] > 0.2
    assert apart(places(frames), wanted) < 0.06


def test_animate_follows_the_clip(render: Render, tmp_path: Path) -> None:
    """Over two segments. The driver is another thing in another land; the prompt says nothing."""
    driver = scenes("blue", "circle", "left", "night")
    pictures = world.draw(driver, LONGER, SIDE, SIDE)[0]
    poses = animate.skeletons(driver, torch.linspace(0, 1, LONGER), SIDE)[0]
    inputs = {
        "image": still(tmp_path / "star.png", "orange", "star", "up", "snow"),
        "video": clip(tmp_path / "clip.mkv", pictures),
        "pose_video": clip(tmp_path / "poses.mkv", poses),
        "face_video": clip(tmp_path / "faces.mkv", torch.zeros(3, LONGER, 32, 32)),
    }
    frames = made(render, ANIMATE, "animate", "", inputs)
    assert [seen(picture) for picture in some(frames)] == [("snow", "orange")] * 3
    assert apart(places(frames), places(pictures)) < 0.06
