"""How far every approximation and the 8-bit lane are from the exact render: SSIM and PSNR of clips that a tiny model
draws. Another seed's clips are beside them, to tell what is far."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

EXACT, EIGHT_BITS = "wan2.2-t2v-a14b-tiny", "wan2.2-t2v-a14b-fp8-tiny"
PROMPTS = ("a red square moves up, water", "a blue star grows on a sunny day")
STEPS, GUIDANCE = 12, 2.0


class Distance(NamedTuple):
    """Of one way to draw: ssim 1 and psnr (decibels) infinite where it draws the same."""

    what: str
    ssim: float
    psnr: float


def measure(models_dir: Path, frames: int = 17, prompts: Sequence[str] = PROMPTS) -> Iterator[Distance]:
    """Everything that is right for the model. What is wrong with guidance is drawn and compared without it."""
    from models import catalog
    from models.acceleration import lossy
    from models.catalog import options

    entry = catalog.get(EXACT)
    pipe, ratios = _pipe(models_dir, EXACT), lossy.ratios_file(models_dir / "distances", entry)
    ratios.parent.mkdir(parents=True, exist_ok=True)
    # those that a farm has there may be of other sizes
    with lossy.calibrating(pipe, STEPS, ratios):
        draw(pipe, prompts[:1], frames)
    guided = draw(pipe, prompts, frames)
    unguided = draw(pipe, prompts, frames, guidance=1.0)
    for name, how in options.LOSSY.items():
        if "t2v" not in how.kinds:
            continue
        exact, guidance = (guided, GUIDANCE) if how.guided else (unguided, 1.0)
        with lossy.on(pipe, name, STEPS, ratios):
            yield distance(name, draw(pipe, prompts, frames, guidance=guidance), exact)
    yield distance("8-bit weights", draw(_pipe(models_dir, EIGHT_BITS), prompts, frames), guided)
    yield distance("another seed", draw(pipe, prompts, frames, seed=100), guided)


def draw(pipe: Any, prompts: Sequence[str], frames: int, *, guidance: float = GUIDANCE, seed: int = 0) -> Any:
    """(N, T, 3, 128, 128) in [0, 1]."""
    import torch

    return pipe(
        prompt=list(prompts),
        height=128,
        width=128,
        num_frames=frames,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(seed + number) for number in range(len(prompts))],
        output_type="pt",
    ).frames


def distance(what: str, one: Any, other: Any) -> Distance:
    error = float((one - other).square().mean())
    return Distance(what, ssim(one, other), math.inf if error == 0 else -10 * math.log10(error))


def ssim(one: Any, other: Any, window: int = 7) -> float:
    """Mean structural similarity of pictures (..., 3, H, W) in [0, 1], over even windows."""
    import torch.nn.functional as F

    def mean(pictures: Any) -> Any:
        return F.avg_pool2d(pictures, window, stride=1)

    first, second = one.flatten(0, -4), other.flatten(0, -4)
    a, b = mean(first), mean(second)
    spread = mean(first * first) - a * a + mean(second * second) - b * b
    alike = (2 * a * b + 0.01**2) * (2 * (mean(first * second) - a * b) + 0.03**2)
    return float((alike / ((a * a + b * b + 0.01**2) * (spread + 0.03**2))).mean())


def _pipe(models_dir: Path, model: str) -> Any:
    import torch

    from models import catalog
    from models.render import loading

    return loading.load(catalog.get(model), models_dir, torch.device("cpu"), "t2v").pipe_for("t2v")


def main(_arguments: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    from models.acceleration import runtime

    runtime.prepare()
    table = Table(title=f"{EXACT}, {STEPS} steps, {len(PROMPTS)} clips of 17x128x128")
    for column in ("beside the exact render", "SSIM", "PSNR dB"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(Path(folder)):
            table.add_row(row.what, f"{row.ssim:.3f}", f"{row.psnr:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main([])
