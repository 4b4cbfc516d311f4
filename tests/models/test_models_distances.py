"""How far approximations and 8 bits are from the exact render, on the tiny model that draws."""

from pathlib import Path

from bench import distances

#: SSIM and decibels below which one may not fall; `python -m bench distances` prints those of whole clips
LEAST = {
    "first_block": (0.9, 25.0),
    "mag": (0.7, 17.0),
    "sea": (0.85, 22.0),
    "taylorseer": (0.75, 18.0),
    "pab": (0.9, 25.0),
    "8-bit weights": (0.9, 25.0),
}


def test_every_approximation_stays_near_the_exact_render(models_dir: Path) -> None:
    """On the shortest clips: the approximations skip steps, so single pictures would be as far."""
    found = {row.what: row for row in distances.measure(models_dir, frames=5, prompts=distances.PROMPTS[:1])}
    other = found.pop("another seed")
    assert found.keys() == LEAST.keys()
    for what, row in found.items():
        least_ssim, least_psnr = LEAST[what]
        assert row.ssim > least_ssim, row
        assert row.psnr > least_psnr, row
        assert row.psnr > other.psnr + 2, (row, other)
