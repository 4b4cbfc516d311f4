"""What is in a picture of the drawn world, measured and not learned: its scene, the colour and the shape of the thing
before it. For shapes the thing must stand upright and whole, as in the first picture of any clip."""

from functools import cache

import torch
from torch import Tensor

from tools.tiny import world

#: side of the picture that is measured, and of the small one in which outlines are compared
_SIDE, _OUTLINE = 64, 24


def scene_of(picture: Tensor) -> str:
    """The scene whose sky and ground are nearest to the upper and the lower edge. picture: (3, H, W) in [-1, 1]."""
    seen = (picture + 1) / 2
    rows = max(1, picture.shape[1] // 12)
    edges = torch.cat([seen[:, rows : 2 * rows].mean((1, 2)), seen[:, -rows:].mean((1, 2))])
    return min(world.SCENES, key=lambda name: float((edges - _edges()[name]).norm()))


def colour_of(picture: Tensor) -> str | None:
    """The colour of the thing; None where nothing stands out."""
    found = _painted(picture).flatten(1).float().mean(1)
    best = int(found.argmax())
    return tuple(world.COLOURS)[best] if float(found[best]) > 0.01 else None


def shape_of(picture: Tensor) -> str | None:
    """The shape whose outline covers the thing best; None where nothing stands out."""
    found = overlaps(picture)
    return max(found, key=lambda name: found[name]) if found else None


def overlaps(picture: Tensor) -> dict[str, float]:
    """Of every shape, how much of its outline and the thing is common to both, 0 to 1."""
    outline = _cut(_thing(picture))
    if outline is None:
        return {}
    return {
        name: float(torch.minimum(outline, other).sum() / torch.maximum(outline, other).sum())
        for name, other in _outlines().items()
    }


def place_of(picture: Tensor) -> tuple[float, float, float]:
    """Where the thing is, x, y of its middle, and the share of the picture that it covers; 0 to 1 each."""
    thing = _thing(picture).float()
    whole = thing.sum().clamp(min=1)
    steps = torch.arange(_SIDE) / _SIDE
    return float(thing.sum(0) @ steps / whole), float(thing.sum(1) @ steps / whole), float(thing.mean())


def _thing(picture: Tensor) -> Tensor:
    """(H, W) whether a pixel has the colour of the thing."""
    painted = _painted(picture)
    return painted[int(painted.flatten(1).sum(1).argmax())]


def _painted(picture: Tensor) -> Tensor:
    """(colours, H, W) which pixels around the middle have a colour, in light or shade, and not one of the scene's."""
    seen = torch.nn.functional.interpolate((picture[None] + 1) / 2, (_SIDE, _SIDE), mode="area")[0]
    pixels = seen.flatten(1).T
    paints = torch.tensor(
        [[[part * shade for part in rgb] for shade in (0.8, 0.95, 1.1)] for rgb in world.COLOURS.values()]
    )
    above, low, ground = (torch.tensor(rgb) for rgb in world.LAND[scene_of(picture)])
    behind = [above + (low - above) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    behind += [ground * shade for shade in (0.65, 0.8, 1.0, 1.2)]
    far = torch.cdist(pixels, paints.clamp(0, 1).flatten(0, 1)).unflatten(1, paints.shape[:2]).amin(2)
    nearest = torch.cdist(pixels, torch.stack(behind).clamp(0, 1)).amin(1)
    rank = torch.where(far == far.amin(1, keepdim=True), 1.0, 0.0)
    mine = (rank * ((far.amin(1) < nearest) & (far.amin(1) < 0.3))[:, None].float()).T.unflatten(1, (_SIDE, _SIDE))
    rows, columns = torch.arange(_SIDE)[:, None] / _SIDE, torch.arange(_SIDE)[None] / _SIDE
    mine = mine * ((columns > 0.06) & (columns < 0.94) & (rows > 0.17) & (rows < 0.96))
    # specks and seams go: most of the pixels around must be alike
    around = torch.nn.functional.avg_pool2d(mine[:, None], 3, stride=1, padding=1)[:, 0]
    return (around > 0.6) & (mine > 0)


def _cut(thing: Tensor) -> Tensor | None:
    """The thing alone, in a square that is as large as it, drawn to a small picture of one size."""
    if float(thing.float().mean()) < 0.01:
        return None
    rows, columns = thing.any(1).nonzero()[:, 0], thing.any(0).nonzero()[:, 0]
    cut = thing[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float()[None, None]
    side = max(cut.shape[2:])
    wide, high = side - cut.shape[3], side - cut.shape[2]
    cut = torch.nn.functional.pad(cut, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
    return torch.nn.functional.interpolate(cut, (_OUTLINE, _OUTLINE), mode="area")[0, 0]


@cache
def _outlines() -> dict[str, Tensor]:
    axis = torch.linspace(-1.4, 1.4, 141)
    found = {}
    for number, name in enumerate(world.SHAPES):
        far = world.distance(torch.tensor([number]), axis[None, None, None, :], axis[None, None, :, None])
        cut = _cut(far[0, 0] < 0)
        assert cut is not None
        found[name] = cut
    return found


@cache
def _edges() -> dict[str, Tensor]:
    """Of every scene, what `scene_of` sees at both edges of a picture."""
    return {name: torch.tensor([*above, *ground]) for name, (above, _, ground) in world.LAND.items()}
