"""Contact sheets: rows of clips as PNG, some frames of each side by side."""

from pathlib import Path

import torch
from torch import Tensor

from tools.tiny import world


def sheet(clips: list[Tensor] | Tensor, path: Path, *, frames: int = 5) -> None:
    """Write clips (3, T, H, W) in [-1, 1] as one picture: a row for each, `frames` of its frames evenly."""
    from PIL import Image

    rows = []
    for clip in clips:
        at = torch.linspace(0, clip.shape[1] - 1, frames).round().long()
        rows.append(torch.cat([clip[:, int(number)] for number in at], -1))
    picture = torch.cat(rows, -2).float().cpu().add(1).mul(127.5).clamp(0, 255).byte().permute(1, 2, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.numpy()).save(path)


def heart() -> world.Scenes:
    """The scene of the demo's picture: a red heart over water, which moves up."""
    return world.Scenes(torch.tensor([[0, 4, 2, 3]]), torch.full((1, 16), 0.5))


def picture(to: Path) -> None:
    """Write the demo's picture."""
    from PIL import Image

    drawn = world.draw(heart(), 1, 128, 128, time=torch.zeros(1))[0, :, 0]
    Image.fromarray(((drawn + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()).save(to, optimize=True)
