"""Both passes of a step one after the other or in one batch, at several small sizes: what models.acceleration.guidance
decides by. Forwards alone, without a sampler."""

from collections.abc import Callable
from typing import Any

from bench.gpu.clock import Clock
from bench.gpu.measure import error_of
from bench.gpu.stand import Stand
from models.acceleration import fused_blocks
from models.acceleration.fused_blocks import FusedForm
from models.catalog.shape import tokens

_ROUNDS = 3


def passes(
    stand: Stand,
    clock: Clock,
    clips: tuple[tuple[int, int, int], ...],
    attention: str,
    tell: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """{"passes_ms": clip -> milliseconds of one step's two passes, with one time for the clip}: "apart" and "together"
    with diffusers' blocks; "fused" apart, if there is an attention for them. Told after each clip. The errors are of
    what is together and of what is fused."""
    import torch

    pipe, model = stand.pipe, stand.model
    expert, device = pipe.transformer, clock.device
    told: dict[str, Any] = {}
    with torch.no_grad():
        for width, height, frames in clips:
            clock.check()
            time, high, wide = model.vae_stride
            latents = torch.randn(
                1,
                expert.config.in_channels,
                1 + (frames - 1) // time,
                height // high,
                width // wide,
                device=device,
                dtype=expert.dtype,
            )
            count = tokens(model, width, height, frames)
            texts = [torch.randn(1, 512, expert.config.text_dim, device=device, dtype=expert.dtype) for _ in range(2)]
            now = torch.full((1,), 500.0, device=device)

            def apart(now: Any = now, latents: Any = latents, texts: list[Any] = texts) -> Any:
                return torch.cat([expert(latents, now, text, return_dict=False)[0] for text in texts])

            two, double, both = torch.cat([latents] * 2), torch.cat([now] * 2), torch.cat(texts)

            def together(two: Any = two, double: Any = double, both: Any = both) -> Any:
                return expert(two, double, both, return_dict=False)[0]

            row: dict[str, Any] = {"tokens": count}
            row["apart"], exact = _timed(clock, apart)
            row["together"], batch = _timed(clock, together)
            row["error_percent"] = error_of(batch, exact)
            if attention:
                with fused_blocks.on(pipe, FusedForm(attention)):
                    row["fused"], ours = _timed(clock, apart)
                row["fused_error_percent"] = error_of(ours, exact)
            told[f"{width}x{height}x{frames}"] = row
            print(f"         {width}x{height}x{frames}: {row}", flush=True)
            tell(told)
    return {"passes_ms": told}


def _timed(clock: Clock, work: Callable[[], Any]) -> tuple[float, Any]:
    """(milliseconds, what the last call gave) after one call that is not timed."""
    work()
    begun = clock.now()
    for _ in range(_ROUNDS):
        out = work()
    return 1e3 * (clock.now() - begun) / _ROUNDS, out
