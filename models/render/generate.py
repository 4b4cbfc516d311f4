"""One call of a stock diffusers pipeline: text, pictures or a clip to edit become frames."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from models import catalog
from models.acceleration import guidance, memory
from models.media import canvas, clips, output, pictures
from models.media.sound import Sound
from models.planning.request import RenderFault, RenderRequest
from models.progress.render_monitor import RenderMonitor

#: texts that are remembered for each text encoder; 4 MB each
_TEXTS = 32
_ENCODING = threading.Lock()
_LATELY: "WeakKeyDictionary[Any, OrderedDict[str, Any]]" = WeakKeyDictionary()
#: reference pictures of VACE
REFERENCES = ("image", "image_2", "image_3")


@dataclass
class RenderedFrames:
    """The frames of a render, uint8 (T, H, W, 3), and their rate; `sound` opens the sound that goes with them.

    notes more fields for the recipe
    """

    frames: Any
    fps: Fraction
    sound: Callable[[Any], Sound] | None = None
    notes: dict[str, Any] | None = None


def generate(
    pipe: Any,
    request: RenderRequest,
    monitor: RenderMonitor,
    *,
    inputs: dict[str, Any] | None = None,
    batched: bool = False,
) -> RenderedFrames:
    """t2v, i2v, flf2v, vace, r2v: everything that one `__call__` makes.

    inputs      read_inputs of the request, when it was called before
    batched     both passes of a step at once
    """
    prompt, negative = encode_text(pipe, request)
    arguments = dict(inputs or read_inputs(request))
    if pipe.config.get("boundary_ratio") is not None:
        arguments["guidance_scale_2"] = request.guidance_2
    with guidance.together(pipe, negative) if batched else nullcontext():
        video = pipe(
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            height=request.height,
            width=request.width,
            num_frames=request.frames,
            num_inference_steps=request.steps,
            guidance_scale=request.guidance,
            generator=noise(request),
            callback_on_step_end=on_step(monitor),
            output_type="pt",
            **arguments,
        ).frames[0]
    return RenderedFrames(output.to_bytes(video), Fraction(request.fps))


def read_inputs(request: RenderRequest) -> dict[str, Any]:
    """The request's pictures and clips as its pipeline takes them. RenderFault invalid_input for what is unusable."""
    return READERS[request.task](request) if request.task in READERS else _pictures(request)


def encode_text(pipe: Any, request: RenderRequest) -> tuple[Any, Any]:
    """(prompt, negative prompt or None) as the transformer takes them: (1, 512, width) each."""
    texts = [request.prompt] + ([request.negative_prompt] if request.guidance > 1 else [])
    prompt, *negative = remembered(pipe.text_encoder, texts, lambda new: _encoded(pipe, new), pipe._execution_device)
    return prompt, negative[0] if negative else None


def _encoded(pipe: Any, texts: list[str]) -> list[Any]:
    import torch

    device = pipe._execution_device
    with torch.no_grad(), memory.visiting(pipe, device):
        return [
            pipe.encode_prompt(
                prompt=text,
                do_classifier_free_guidance=False,
                max_sequence_length=catalog.TEXT_TOKENS,
                device=device,
            )[0]
            for text in texts
        ]


def remembered(encoder: Any, texts: list[str], encode: Callable[[list[str]], list[Any]], device: Any) -> list[Any]:
    """The embeddings of the texts. Recent ones are cached: shots of a batch share their negative prompt, a retry
    shares both, and the encoder need not be moved to the device for them. Threads may share an encoder: one encodes
    at a time."""
    with _ENCODING:
        known = _LATELY.setdefault(encoder, OrderedDict())
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, (made.cpu() for made in encode(new)), strict=True))
        found = []
        for text in texts:
            known.move_to_end(text)
            found.append(known[text].to(device))
        while len(known) > _TEXTS:
            known.popitem(last=False)
        return found


def noise(request: RenderRequest) -> Any:
    """The render's own random numbers: on the CPU, so that the seed means the same on every device."""
    import torch

    return torch.Generator("cpu").manual_seed(request.seed)


def on_step(monitor: RenderMonitor) -> Callable[..., dict[str, Any]]:
    """The callback that pipelines run after each step."""

    def step_end(_pipe: Any, _i: int, _t: Any, state: dict[str, Any]) -> dict[str, Any]:
        monitor.step_done()
        return state

    return step_end


def _pictures(request: RenderRequest) -> dict[str, Any]:
    return {
        role: canvas.placed(pictures.read(request.inputs[role]), request)
        for role in ("image", "last_image")
        if role in request.inputs
    }


def _vace(request: RenderRequest) -> dict[str, Any]:
    """A clip to redraw: where the mask is white it is generated, where it is black it is kept; without a mask all of
    it is generated.

    Everything is brought to the clip's size first: the pipeline would otherwise render at the smaller of the sizes.
    """
    arguments = _references(request)
    arguments["video"] = _cut(request, "video")
    if "mask_video" in request.inputs:
        arguments["mask"] = _cut(request, "mask_video")
    elif "mask" in request.inputs:
        mask = canvas.placed(pictures.read(request.inputs["mask"]), request)
        arguments["mask"] = [mask] * request.frames
    return arguments


def _references(request: RenderRequest) -> dict[str, Any]:
    references = [pictures.read(request.inputs[role]) for role in REFERENCES if role in request.inputs]
    scale = float(request.options.get("conditioning_scale", 1.0))
    return {"reference_images": references or None, "conditioning_scale": scale}


def _cut(request: RenderRequest, role: str) -> list[Any]:
    """The first frames of an input clip, as many as the render has, at its rate and size."""
    from PIL import Image

    cut = []
    for frame in clips.read(Path(request.inputs[role]), request.fps):
        cut.append(canvas.placed(Image.fromarray(frame), request))
        if len(cut) == request.frames:
            return cut
    raise RenderFault(
        "invalid_input", f"{role} has {len(cut)} frames at {request.fps} fps; {request.frames} are to be rendered"
    )


READERS: dict[str, Callable[[RenderRequest], dict[str, Any]]] = {"vace": _vace, "r2v": _references}
