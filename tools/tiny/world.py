"""The drawn world: one coloured shape that moves before a scene, as clips. Pure and vectorised: the same random numbers
draw the same clip on every device. Lengths are shares of the shorter side, the origin is the middle, y points down."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

COLOURS = {
    "red": (0.90, 0.13, 0.13),
    "green": (0.13, 0.70, 0.22),
    "blue": (0.12, 0.28, 0.95),
    "yellow": (0.98, 0.86, 0.10),
    "white": (0.97, 0.97, 0.97),
    "purple": (0.62, 0.18, 0.80),
    "orange": (0.98, 0.50, 0.06),
}
SHAPES = ("circle", "square", "triangle", "star", "heart")
MOTIONS = ("left", "right", "up", "down", "grows", "shrinks", "turns", "jumps")
SCENES = ("day", "night", "snow", "water")
#: what a caption can say of a clip, in the order of `Scenes.named`
SLOTS = (tuple(COLOURS), SHAPES, MOTIONS, SCENES)

#: top of the sky, its lower edge, the ground
LAND = {
    "day": ((0.33, 0.60, 0.95), (0.78, 0.90, 1.00), (0.36, 0.66, 0.30)),
    "night": ((0.03, 0.04, 0.13), (0.11, 0.13, 0.32), (0.06, 0.10, 0.12)),
    "snow": ((0.58, 0.65, 0.76), (0.80, 0.84, 0.90), (0.94, 0.96, 0.99)),
    "water": ((0.90, 0.72, 0.80), (0.99, 0.91, 0.86), (0.10, 0.42, 0.62)),
}
_NUMBERS = 16


@dataclass(frozen=True)
class Scenes:
    """What is drawn, B clips at once. named: (B, 4) which word of each slot; chance: (B, 16) numbers in [0, 1) that
    decide the rest (place, size, speed, hills)."""

    named: Tensor
    chance: Tensor


def some(count: int, device: Any = None, generator: Any = None) -> Scenes:
    """Random scenes; every word as likely as another."""
    named = [torch.randint(0, len(words), (count,), device=device, generator=generator) for words in SLOTS]
    chance = torch.rand(count, _NUMBERS, device=device, generator=generator)
    return Scenes(torch.stack(named, 1), chance)


def of_land(scenes: Scenes) -> Tensor:
    """(16,) which of the numbers are the land's: the first eight."""
    return torch.arange(_NUMBERS, device=scenes.chance.device) < 8


def draw(
    scenes: Scenes,
    frames: int,
    height: int,
    width: int,
    *,
    time: Tensor | None = None,
    crop: tuple[Tensor, Tensor, int, int] | None = None,
) -> Tensor:
    """The clips, (B, 3, frames, height, width) in [-1, 1].

    time    (frames,) moments in [0, 1]; evenly over the motion by default
    crop    (top, left, height, width): only this window of each picture, its corner in pixels (B,) each
    """
    device = scenes.chance.device
    shorter = min(height, width)
    time = torch.linspace(0, 1, frames, device=device) if time is None else time
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    top = left = torch.zeros(scenes.named.shape[0], device=device)
    if crop is not None:
        top, left = crop[0].float(), crop[1].float()
        rows, columns = torch.arange(crop[2], device=device), torch.arange(crop[3], device=device)
    y = ((rows[None] + top[:, None] + 0.5 - height / 2) / shorter)[:, None, :, None]
    x = ((columns[None] + left[:, None] + 0.5 - width / 2) / shorter)[:, None, None, :]
    t = time[None, :, None, None]
    soft = 1.0 / shorter
    picture = _land(scenes, x, y, t, soft)
    return _thing(scenes, picture, x, y, t, soft).clamp(0, 1).mul(2).sub(1)


def ink(clips: Tensor) -> Tensor:
    """The clips in black and white, with more contrast. (B, 3, T, H, W) in [-1, 1]."""
    light = (0.299 * clips[:, :1] + 0.587 * clips[:, 1:2] + 0.114 * clips[:, 2:] + 1) / 2
    light = light + 0.8 * light * (1 - light) * (2 * light - 1)
    return (2 * light - 1).clamp(-1, 1).expand_as(clips)


def _cover(distance: Tensor, soft: float) -> Tensor:
    """How much of a pixel lies inside, from a signed distance (negative inside)."""
    return (0.5 - distance / soft).clamp(0, 1)


def _over(picture: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
    """Paint (B, 3, ...) colour over the picture where alpha (B, T, H, W) says."""
    return picture + (colour - picture) * alpha[:, None]


def _number(scenes: Scenes, which: int, low: float, high: float) -> Tensor:
    return (low + (high - low) * scenes.chance[:, which])[:, None, None, None]


def _rgb(table: Any, which: Tensor) -> Tensor:
    """(B, 3, 1, 1, 1) rows of a table of colours, by masks so that nothing is copied from the host."""
    out = torch.zeros(which.shape[0], 3, device=which.device)
    for number, colour in enumerate(table):
        hit = (which == number).float()
        out = out + torch.stack([hit * value for value in colour], 1)
    return out[:, :, None, None, None]


def _land(scenes: Scenes, x: Tensor, y: Tensor, t: Tensor, soft: float) -> Tensor:
    """Sky, lights, clouds, ground and what falls."""
    scene = scenes.named[:, 3]
    day, night, snow, water = ((scene == number).float()[:, None, None, None] for number in range(4))
    above, low, ground = (_rgb([LAND[name][part] for name in SCENES], scene) for part in range(3))
    fade = ((y + 0.5) / 0.75).clamp(0, 1)[:, None]
    picture = above + (low - above) * fade + torch.zeros_like(x + t)[:, None]

    phase = _number(scenes, 0, 0, 2 * math.pi)
    light = ((x - _number(scenes, 1, -0.42, -0.30)) ** 2 + (y - _number(scenes, 2, -0.42, -0.36)) ** 2).sqrt() - 0.065
    glow = torch.stack([day + 0.95 * night, 0.93 * day + 0.93 * night, 0.55 * day + 0.78 * night], 1)
    picture = _over(picture, glow, _cover(light, soft) * (day + night))

    picture = _over(picture, torch.ones_like(glow), _specks(scenes, x, y, t, soft, night, snow))
    cloud_x, cloud_y = _number(scenes, 3, 0.12, 0.26) + 0.12 * t, _number(scenes, 4, -0.40, -0.34)
    puff = ((x - cloud_x) / 0.13) ** 2 + ((y - cloud_y) / 0.045) ** 2
    puff = torch.minimum(puff, ((x - cloud_x - 0.07) / 0.09) ** 2 + ((y - cloud_y + 0.03) / 0.05) ** 2)
    picture = _over(picture, torch.ones_like(glow), ((1 - puff) * 6).clamp(0, 0.85) * day)

    hill = _number(scenes, 5, 0.18, 0.26) + 0.035 * torch.sin(5 * x + phase) * (1 - water)
    hill = hill + water * (0.014 * torch.sin(11 * x + phase + 2 * math.pi * t) - 0.05)
    wave = torch.sin(48 * (y - hill) + 2.5 * torch.sin(7 * x + phase) - 4 * math.pi * t)
    shade = 1 - 0.35 * ((y - hill) / 0.4).clamp(0, 1) * (1 - snow) + 0.22 * wave * water
    return _over(picture, ground * shade[:, None], _cover(hill - y, soft))


def _specks(scenes: Scenes, x: Tensor, y: Tensor, t: Tensor, soft: float, night: Tensor, snow: Tensor) -> Tensor:
    """Stars stand and flakes fall: at most one in each cell of a grid, its place made of the cell's own numbers.
    They are the same in every clip: what is random here is noise to a model, and it would have to learn that first."""
    fall = y - snow * 0.35 * t + 0.5
    across, down = (x + 0.5) * 7 + 42, fall * 7 + 42
    column, row = across.floor(), down.floor()
    seed = 40.0
    first = torch.frac(torch.sin(column * 12.9898 + row * 78.233 + seed) * 437.585).abs()
    second = torch.frac(torch.sin(column * 39.346 + row * 11.135 + seed * 1.7) * 751.731).abs()
    far = ((across - column - 0.25 - 0.5 * first) ** 2 + (down - row - 0.25 - 0.5 * second) ** 2).sqrt() / 7
    size = 0.008 + 0.003 * first + 0.004 * snow
    there = (second > 0.55).float() * (night + snow)
    return _cover(far - size, soft) * there


def _thing(scenes: Scenes, picture: Tensor, x: Tensor, y: Tensor, t: Tensor, soft: float) -> Tensor:
    """The shape itself: filled, shaded from the upper left, with a dark rim."""
    place_x, place_y, size, _ = path(scenes, t)
    across, down = (x - place_x) / size, (y - place_y) / size
    far, px = _outline(scenes, x, y, t)
    fill = _rgb(COLOURS.values(), scenes.named[:, 0])
    shade = 1 - 0.16 * (across + down).clamp(-1.5, 1.5)
    ring = ((scenes.named[:, 1] == 0).float()[:, None, None, None]) * _cover((px.abs() - 0.2) * size, soft)
    picture = _over(picture, fill * 0.2, _cover(far, soft))
    return _over(picture, fill * (shade * (1 - 0.45 * ring))[:, None], _cover(far + 0.016, soft))


def _outline(scenes: Scenes, x: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """How far a place is from the edge of the shape, and how far to its right, in radii, as the shape is turned."""
    place_x, place_y, size, angle = path(scenes, t)
    across, down = (x - place_x) / size, (y - place_y) / size
    cos, sin = angle.cos(), angle.sin()
    px, py = cos * across + sin * down, cos * down - sin * across
    return distance(scenes.named[:, 1], px, py) * size, px


def silhouette(scenes: Scenes, frames: int, height: int, width: int, *, time: Tensor | None = None) -> Tensor:
    """How much of each pixel of `draw`'s clips the shape covers, (B, 1, frames, height, width) in [0, 1]."""
    device, shorter = scenes.chance.device, min(height, width)
    time = torch.linspace(0, 1, frames, device=device) if time is None else time
    t = time[None, :, None, None]
    y = ((torch.arange(height, device=device) + 0.5 - height / 2) / shorter)[None, None, :, None]
    x = ((torch.arange(width, device=device) + 0.5 - width / 2) / shorter)[None, None, None, :]
    return _cover(_outline(scenes, x, y, t)[0], 1.0 / shorter)[:, None]


def path(scenes: Scenes, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where the shape is at the moments t: x, y, radius, angle, (B, T, 1, 1) each. Every motion starts alike: the first
    picture does not tell what will happen. Places and sizes differ little: one that may be anywhere hides its outline
    from who learns it."""
    kind = scenes.named[:, 2]
    is_ = {word: (kind == number).float()[:, None, None, None] for number, word in enumerate(MOTIONS)}
    ease = t * t * (3 - 2 * t) * 0.5 + t * 0.5
    reach = _number(scenes, 8, 0.22, 0.26)
    size = _number(scenes, 11, 0.23, 0.26)
    place_x = _number(scenes, 9, -0.04, 0.04) + reach * ease * (is_["right"] - is_["left"])
    place_y = _number(scenes, 10, -0.01, 0.05) + reach * ease * (is_["down"] - is_["up"])
    place_y = place_y - 0.22 * (math.pi * t).sin() * is_["jumps"]
    size = size * (1 + ease * (0.60 * is_["grows"] - 0.45 * is_["shrinks"]))
    return place_x, place_y, size + 0 * t, math.pi / 2 * ease * is_["turns"] + 0 * size


def distance(shape: Tensor, px: Tensor, py: Tensor) -> Tensor:
    """Signed distance to the shape of radius about one, negative inside."""
    side = px.abs()
    round_ = (px * px + py * py + 1e-9).sqrt()
    square = torch.maximum(side, py.abs()) - 0.84
    triangle = torch.maximum(py - 0.62, 0.866 * side - 0.5 * py - 0.56)
    turn = torch.remainder(torch.atan2(px, -py) + math.pi / 5, 2 * math.pi / 5) - math.pi / 5
    tip, inner = 1.18, 0.52
    edge = (inner * math.sin(math.pi / 5), tip - inner * math.cos(math.pi / 5))
    length = math.hypot(*edge)
    star = ((round_ * turn.cos() - tip) * edge[0] + round_ * turn.abs().sin() * edge[1]) / length
    lift = -1.18 * (py - 0.15) - 0.85 * (side + 1e-6).sqrt()
    heart = ((px * px * 0.92 + lift * lift + 1e-9).sqrt() - 0.92) * 0.72
    out = round_ - 0.95
    for number, other in ((1, square), (2, triangle), (3, star), (4, heart)):
        out = torch.where((shape == number)[:, None, None, None], other, out)
    return out
