"""The share of each stage of a render, before it runs, and the steps and blocks that are counted inside. Pure
arithmetic."""

from dataclasses import dataclass

from models import catalog
from models.catalog.model import Model
from models.planning.request import RenderRequest, Stage

#: TFLOP of the VAE's decoder per million pixels of clip, counted on the 832x480 and 1280x720 clips
_DECODE_TFLOP = 8.5
#: the VAE computes in fp32, at about an eighth of the speed of the transformer's bf16
_VAE_SLOWNESS = 8.0


@dataclass(frozen=True)
class ProgressPlan:
    """parts       stage -> share of the whole render; they add up to 1
    steps         denoising steps, over all segments
    blocks        transformer blocks that run in one step (all forwards)
    decodes       calls of the VAE's decoder, over all segments
    """

    parts: dict[Stage, float]
    steps: int
    blocks: int
    decodes: int


#: when nothing is known yet
UNKNOWN = ProgressPlan({Stage.LOADING: 0.05, Stage.DENOISING: 0.95}, 1, 1, 1)


def progress_plan_of(
    request: RenderRequest,
    model: Model,
    blocks: int,
    frames: int,
    preprocessing: float = 0.02,
    *,
    batched: bool = False,
) -> ProgressPlan:
    """The plan for rendering `frames` with experts of `blocks` blocks. preprocessing: its share of the whole;
    batched: whether the two passes of a step run as one."""
    pieces = catalog.segments_of(model, frames)
    denoise = catalog.work_tflop(
        model,
        width=request.width,
        height=request.height,
        frames=frames,
        steps=request.steps,
        guidance=request.guidance,
    )
    small = model.dit.dim / 5e5 if model.weights.tiny else 1.0
    decode = _DECODE_TFLOP * _VAE_SLOWNESS * request.width * request.height * frames / 1e6 * small
    rest = 0.92 - preprocessing
    parts = {
        Stage.LOADING: 0.03,
        Stage.PREPROCESSING: preprocessing,
        Stage.DENOISING: rest * denoise / (denoise + decode),
        Stage.DECODING: rest * decode / (denoise + decode),
        Stage.ENCODING: 0.05,
    }
    piece = frames if model.segment is None else model.segment[0]
    latents = 1 + (piece - 1) // model.vae_stride[0]
    return ProgressPlan(
        parts, request.steps * pieces, (2 if request.guidance > 1 and not batched else 1) * blocks, latents * pieces
    )
