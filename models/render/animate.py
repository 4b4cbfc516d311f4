"""Wan-Animate by segments: a character moves as a clip's person does, or takes that person's place.

The stock pipeline holds every frame of every input on the GPU; this loop over its own steps holds one segment,
so a clip may be of any length. For the same inputs it makes the same frames.
"""

from collections.abc import Iterator
from typing import Any

from models.media import output, pictures
from models.planning.request import RenderRequest, Stage
from models.preprocess.guides import Guides
from models.progress.render_monitor import RenderMonitor
from models.render.generate import encode_text, noise


def segments(frames: int, length: int, overlap: int) -> list[range]:
    """The frames of each segment; the last one may reach beyond the clip. ValueError for a clip of one frame."""
    if frames < 2:
        raise ValueError("a clip of one frame cannot be followed")
    stride = length - overlap
    count = max(1, -(-(frames - overlap) // stride))
    return [range(k * stride, k * stride + length) for k in range(count)]


def reflected(number: int, frames: int) -> int:
    """The frame that stands in for one beyond the end: the clip runs backwards, then forwards again."""
    there_and_back = 2 * (frames - 1)
    number %= there_and_back
    return number if number < frames else there_and_back - number


def animate(
    pipe: Any, request: RenderRequest, guides: Guides, piece: tuple[int, int], monitor: RenderMonitor
) -> Iterator[Any]:
    """Yield the frames of each segment, uint8 (t, H, W, 3), in all as many as there are poses.

    piece       (frames of a segment, frames that it takes over from the one before: 1 or 5)
    """
    import torch

    length, overlap = piece
    left = count = len(guides.poses)
    with torch.no_grad():
        loop = _Loop(pipe, request, guides, overlap, monitor)
        for number, wanted in enumerate(segments(count, length, overlap)):
            video = loop.segment(number, [reflected(n, count) for n in wanted])
            frames = output.to_bytes(pipe.video_processor.postprocess_video(video, output_type="pt")[0])
            monitor.check()
            yield frames[:left]
            left -= len(frames)


class _Loop:
    """The segments of one render, one after the other: each starts from the last frames of the one before."""

    def __init__(self, pipe: Any, request: RenderRequest, guides: Guides, overlap: int, monitor: RenderMonitor) -> None:
        import torch

        self.pipe, self.request, self.guides, self.overlap, self.monitor = pipe, request, guides, overlap, monitor
        self.device, self.dtype = pipe._execution_device, pipe.transformer.dtype
        self.size = {"height": request.height, "width": request.width}
        self.random = noise(request)
        prompt, negative = encode_text(pipe, request)
        self.prompt = prompt.to(self.dtype)
        self.negative = negative.to(self.dtype) if negative is not None else None
        picture = pictures.cover(pictures.read(request.inputs["image"]), request.width, request.height)
        self.picture = pipe.encode_image(picture, self.device).to(self.dtype)
        pixels = pipe.vae_image_processor.preprocess(picture, resize_mode="fill", **self.size)
        self.reference = pipe.prepare_reference_image_latents(
            pixels.to(self.device, torch.float32), 1, generator=self.random, device=self.device
        )
        self.tail: Any = None

    def segment(self, number: int, frames: list[int]) -> Any:
        """The pixels that are new in a segment: (1, 3, t, H, W) in [-1, 1]. `frames`: the guides' that it follows."""
        video = self._decoded(self._denoised(number, frames))
        self.tail = video[:, :, -self.overlap :].clone()
        return video[:, :, self.overlap :] if number else video

    def _denoised(self, number: int, frames: list[int]) -> Any:
        import torch

        pipe, steps = self.pipe, self.request.steps
        latents = pipe.prepare_latents(
            1,
            pipe.vae.config.z_dim,
            num_frames=len(frames),
            dtype=torch.float32,
            device=self.device,
            generator=self.random,
            **self.size,
        )
        shown = self._shown(frames)
        given = torch.cat([self.reference, self._taken_over(number, frames)], dim=2)
        pipe.scheduler.set_timesteps(steps, device=self.device)
        self.monitor.enter(Stage.DENOISING)
        for t in pipe.scheduler.timesteps:
            latents = pipe.scheduler.step(self._guess(latents, given, t, shown), t, latents, return_dict=False)[0]
            self.monitor.step_done()
        # what a cache remembers of this segment is wrong for the next
        pipe.transformer._reset_stateful_cache()
        return latents

    def _guess(self, latents: Any, given: Any, t: Any, shown: dict[str, Any]) -> Any:
        """The transformer's answer at one timestep, guided away from the answer without words and without a face."""
        import torch

        pipe, guidance = self.pipe, self.request.guidance
        shared = {
            "hidden_states": torch.cat([latents, given], dim=1).to(self.dtype),
            "timestep": t.expand(1),
            "encoder_hidden_states_image": self.picture,
            "pose_hidden_states": shown["poses"],
            "return_dict": False,
        }
        with pipe.transformer.cache_context("cond"):
            guess = pipe.transformer(encoder_hidden_states=self.prompt, face_pixel_values=shown["faces"], **shared)[0]
        if guidance <= 1:
            return guess
        blank = shown["faces"] * 0 - 1
        with pipe.transformer.cache_context("uncond"):
            without = pipe.transformer(encoder_hidden_states=self.negative, face_pixel_values=blank, **shared)[0]
        return without + guidance * (guess - without)

    def _shown(self, frames: list[int]) -> dict[str, Any]:
        """The poses as latents, the faces as pixels."""
        import torch

        pipe = self.pipe
        poses = pipe.video_processor.preprocess_video(self.guides.poses.pictures(frames), **self.size)
        poses = pipe.prepare_pose_latents(
            poses.to(self.device, torch.float32), 1, generator=self.random, device=self.device
        )
        side = pipe.transformer.config.motion_encoder_size
        faces = pipe.video_processor.preprocess_video(self.guides.faces.pictures(frames), height=side, width=side)
        return {"poses": poses.to(self.dtype), "faces": faces.to(self.device, self.dtype)}

    def _taken_over(self, number: int, frames: list[int]) -> Any:
        """Latents of what the segment starts from: the last frames of the one before, and the background to keep."""
        import torch

        pipe, guides = self.pipe, self.guides
        keep: dict[str, Any] = {}
        if guides.backgrounds is not None and guides.masks is not None:
            backgrounds = pipe.video_processor.preprocess_video(guides.backgrounds.pictures(frames), **self.size)
            masks = pipe.video_processor_for_mask.preprocess_video(guides.masks.pictures(frames), **self.size)
            keep["background_video"] = backgrounds.to(self.device, torch.float32)
            keep["mask_video"] = masks.to(self.device, torch.float32)
        return pipe.prepare_prev_segment_cond_latents(
            self.tail,
            **keep,
            **self.size,
            batch_size=1,
            segment_frame_length=len(frames),
            start_frame=number,
            prev_segment_cond_frames=self.overlap,
            task=self.request.task,
            generator=self.random,
            device=self.device,
        )

    def _decoded(self, latents: Any) -> Any:
        """Pixels (1, 3, T, H, W) in [-1, 1]; the first latent frame was the character's picture."""
        import torch

        vae = self.pipe.vae
        latents, shape = latents.to(vae.dtype), (1, vae.config.z_dim, 1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(latents.device, latents.dtype)
        inverse = 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(latents.device, latents.dtype)
        return vae.decode((latents / inverse + mean)[:, :, 1:], return_dict=False)[0]
