"""Wan-Animate-2: a character moves as a clip's person does, straight from the clip, without a skeleton in between.

diffusers has it as modular blocks only. Some of them are left out here and done by hand: the text, so that its encoder
may live elsewhere; the fitting of picture and clip, which would choose another size and fails on clips shorter than
half a segment; and the joining of the segments, which would hold a long clip in memory as floats.
"""

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from models import catalog
from models.acceleration import memory
from models.media import output, pictures
from models.media.clips import ClipFacts, read
from models.media.film import Film
from models.planning.request import RenderFault, RenderRequest
from models.progress.render_monitor import RenderMonitor
from models.render.animate import reflected, segments
from models.render.generate import noise, remembered

#: the prompt of every driving clip in training
_ABOUT_THE_CLIP = "人物动作的参考视频"


class Animate2:
    """The modular pipeline with the face of a classic one: parts as attributes, a scheduler that may be replaced."""

    def __init__(self, parts: dict[str, Any]) -> None:
        from diffusers.modular_pipelines.wan_animate_2.modular_blocks_wan_animate_2 import WanAnimate2Blocks

        _quiet()
        # every instance is made of the same blocks: taking some out of one would take them out of all
        blocks = deepcopy(WanAnimate2Blocks())
        for group, step in (("image_encoder", "preprocess"), ("video_encoder", "preprocess")):
            blocks.sub_blocks[group].sub_blocks.pop(step)
        for group in ("text_encoder", "decode"):
            blocks.sub_blocks.pop(group)
        self.text_encoder, self.tokenizer = parts["text_encoder"], parts["tokenizer"]
        self.image_encoder, self.vae, self.transformer = parts["image_encoder"], parts["vae"], parts["transformer"]
        self.scheduler = parts["scheduler"]
        self.config: dict[str, Any] = {}
        self._inner = blocks.init_pipeline()
        inside = ("image_encoder", "vae", "transformer", "scheduler")
        self._inner.update_components(**{name: parts[name] for name in inside})

    @property
    def components(self) -> dict[str, Any]:
        """Name -> part, as a diffusers pipeline has it."""
        names = ("text_encoder", "tokenizer", "image_encoder", "vae", "transformer", "scheduler")
        return {name: getattr(self, name) for name in names}

    @property
    def _execution_device(self) -> Any:
        return self._inner._execution_device

    def to(self, device: Any) -> None:
        """Move every part to a device."""
        for name in ("text_encoder", "image_encoder", "vae", "transformer"):
            getattr(self, name).to(device)

    def set_progress_bar_config(self, **_: Any) -> None:
        """The blocks print their own progress bar, which _quiet silences."""

    def maybe_free_model_hooks(self) -> None:
        """Masks are kept for every shape that was ever asked: let go of them when there are many."""
        if len(self.transformer.block_masks) > 8:
            self.transformer.block_masks.clear()

    def remove_all_hooks(self) -> None:
        """No part has any."""

    def __getattr__(self, name: str) -> Any:
        """LoRAs: the modular pipeline loads them as the classic ones do."""
        return getattr(self.__dict__["_inner"], name)

    def run(self, segment_done: Callable[[Any], None], **inputs: Any) -> None:
        """Run the blocks; segment_done is handed the new pixels (1, 3, t, H, W) of each segment."""
        from diffusers import ClassifierFreeGuidance

        guider = ClassifierFreeGuidance(guidance_scale=inputs.pop("guidance"))
        self._inner.update_components(scheduler=self.scheduler, guider=guider)
        loop = self._inner._blocks.sub_blocks["denoise"].sub_blocks["denoise"].sub_blocks
        loop["decode"] = _handing_on(segment_done)
        with _eager_on_cpu(self._execution_device):
            self._inner(**inputs)


def _handing_on(segment_done: Callable[[Any], None]) -> Any:
    """The block that decodes a segment, handing its pixels on instead of keeping them."""
    from diffusers.modular_pipelines.wan_animate_2.denoise import WanAnimate2SegmentDecodeStep

    class Decode(WanAnimate2SegmentDecodeStep):  # type: ignore[misc]
        def __call__(self, components: Any, block_state: Any, k: int) -> Any:
            components, block_state = super().__call__(components, block_state, k)
            segment_done(block_state.segment_frames.pop())
            return components, block_state

    return Decode()


def load(folder: Path, vae: Any, dtype: Any) -> Animate2:
    """The pipeline from a local folder of weights, text and picture encoder and transformer in `dtype`."""
    from diffusers import FlowMatchEulerDiscreteScheduler, WanAnimate2Transformer3DModel
    from transformers import AutoTokenizer, CLIPVisionModel, UMT5EncoderModel

    local: dict[str, Any] = {"local_files_only": True}
    tensors: dict[str, Any] = {**local, "use_safetensors": True, "dtype": dtype}
    parts = {
        "tokenizer": AutoTokenizer.from_pretrained(folder / "tokenizer", **local),
        "text_encoder": UMT5EncoderModel.from_pretrained(folder / "text_encoder", **tensors),
        "image_encoder": CLIPVisionModel.from_pretrained(folder / "image_encoder", **tensors),
        "transformer": WanAnimate2Transformer3DModel.from_pretrained(folder / "transformer", **tensors),
        # the blocks pass a generator on, which the multistep solvers do not take
        "scheduler": FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000),
        "vae": vae,
    }
    return Animate2(parts)


def animate(
    pipe: Animate2,
    request: RenderRequest,
    facts: ClipFacts,
    monitor: RenderMonitor,
    *,
    piece: tuple[int, int],
    most: int,
) -> Film:
    """The frames, as many as the clip has. RenderFault invalid_input for a clip of one frame or more than `most`."""
    import numpy as np
    import torch

    length, overlap = piece
    count, driving = _driving(request, facts, piece, most)
    film = Film(Path(request.out_dir))

    def segment_done(video: Any) -> None:
        monitor.check()
        frames = output.to_bytes((video[0].transpose(0, 1) + 1) / 2)
        film.extend(frames[: count - len(film)])

    device = pipe._execution_device
    picture = pictures.cover(pictures.read(request.inputs["image"]), request.width, request.height)
    with torch.no_grad():
        pipe.run(
            segment_done,
            **encode_words(pipe, request),
            image_pixels=_pixels([np.asarray(picture)])[:, :, 0].to(device),
            driving_video_pixels=driving.to(device),
            num_segments=len(segments(count, length, overlap)),
            effective_segment=length - overlap,
            segment_frame_length=length,
            prev_segment_conditioning_frames=overlap,
            height=request.height,
            width=request.width,
            num_inference_steps=request.steps,
            generator=noise(request),
            guidance=request.guidance,
        )
    return film


def count_steps(pipe: Animate2, monitor: RenderMonitor) -> None:
    """The blocks know no callback: the scheduler, which is this render's own, counts."""
    step = pipe.scheduler.step

    def counted(*args: Any, **kwargs: Any) -> Any:
        after = step(*args, **kwargs)
        monitor.step_done()
        return after

    pipe.scheduler.step = counted


def encode_words(pipe: Animate2, request: RenderRequest) -> dict[str, Any]:
    """The embedded texts, as the blocks call them."""
    from diffusers.modular_pipelines.wan_animate_2.encoders import get_t5_prompt_embeds

    device = pipe._execution_device
    texts = {"prompt_embeds": request.prompt, "prompt_ref_embeds": _ABOUT_THE_CLIP}
    if request.guidance > 1:
        texts["negative_prompt_embeds"] = request.negative_prompt

    def encode(new: list[str]) -> list[Any]:
        with memory.visiting(pipe, device):
            return [
                get_t5_prompt_embeds(pipe.text_encoder, pipe.tokenizer, text, catalog.TEXT_TOKENS, device)
                for text in new
            ]

    return dict(zip(texts, remembered(pipe.text_encoder, list(texts.values()), encode, device), strict=True))


def _driving(request: RenderRequest, facts: ClipFacts, piece: tuple[int, int], most: int) -> tuple[int, Any]:
    """(frames of the clip, pixels (1, 3, T, H, W) in [-1, 1] with the last segment filled up)."""
    import numpy as np
    from PIL import Image

    frames = [
        np.asarray(pictures.cover(Image.fromarray(frame), request.width, request.height))
        for frame in read(request.inputs["video"], facts.fps, most)
    ]
    if len(frames) < 2:
        raise RenderFault("invalid_input", "the clip ends at frame 0: one frame has no motion to follow")
    total = segments(len(frames), *piece)[-1].stop
    return len(frames), _pixels([frames[reflected(number, len(frames))] for number in range(total)])


def _pixels(frames: list[Any]) -> Any:
    """Frames (H, W, 3) of 8 bits as (1, 3, T, H, W) in [-1, 1]."""
    import numpy as np
    import torch

    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _quiet() -> None:
    """The blocks print progress bars on standard error, and torch warns at length that a CPU compiles nothing."""
    from diffusers.modular_pipelines.wan_animate_2 import denoise

    denoise.tqdm = partial(denoise.tqdm, disable=True)
    # a cancelled render would print three traces there; errors leave by exception and are reported once
    logging.getLogger("diffusers.modular_pipelines.modular_pipeline").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
    warnings.filterwarnings("ignore", "_compile flag on create_block_mask")


def _eager_on_cpu(device: Any) -> AbstractContextManager[Any]:
    """The mask of the segments' attention is compiled wherever it is made: on a CPU that takes a compiler and time."""
    import torch

    return torch.compiler.set_stance("force_eager") if device.type == "cpu" else nullcontext()
