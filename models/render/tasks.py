"""Runs each task: reads its inputs, calls its pipeline, and returns frames that are ready to encode."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.catalog import MODULAR
from models.catalog.model import Model
from models.media import canvas, clips, pictures
from models.media.clips import ClipFacts
from models.media.film import Film
from models.media.sound import Sound
from models.planning.request import RenderFault, RenderRequest, Stage
from models.preprocess.guides import Eyes, Guides, guides_of
from models.progress.progress_plan import progress_plan_of
from models.progress.render_monitor import RenderMonitor
from models.render import animate2, generate
from models.render.animate import animate
from models.render.generate import RenderedFrames


def make(
    pipe: Any,
    model: Model,
    request: RenderRequest,
    monitor: RenderMonitor,
    eyes: Callable[[], Eyes],
    *,
    inputs: Any = None,
    batched: bool = False,
) -> RenderedFrames:
    """Do the request's task. Raises RenderFault for inputs that cannot be used, Cancelled through the watch.

    eyes        opens what looks at a clip, when one has to be looked at
    inputs      read_inputs of the request, when it was called before
    batched     both passes of a step at once (models.acceleration.guidance)
    """
    monitor.enter(Stage.PREPROCESSING)
    made = _made(pipe, model, canvas.on_canvas(model, request), monitor, eyes, inputs=inputs, batched=batched)
    return replace(made, frames=canvas.cut_out(made.frames, request.width, request.height))


def _made(
    pipe: Any,
    model: Model,
    request: RenderRequest,
    monitor: RenderMonitor,
    eyes: Callable[[], Eyes],
    *,
    inputs: Any,
    batched: bool,
) -> RenderedFrames:
    if model.follows is None:
        monitor.follow(progress_plan_of(request, model, len(pipe.transformer.blocks), request.frames, batched=batched))
        return generate.generate(pipe, request, monitor, inputs=inputs, batched=batched)
    return _follow(pipe, model, request, monitor, eyes, given=inputs)


def encode_words(pipe: Any, model: Model, request: RenderRequest) -> None:
    """Encode the request's texts, so that its render remembers them. Any pipeline over the model's parts will do."""
    if model.modular:
        animate2.encode_words(pipe, request)
    else:
        generate.encode_text(pipe, request)


def read_inputs(model: Model, request: RenderRequest) -> Any:
    """The request's inputs, as far as they can be read without the device: what `make` takes, None when there is
    nothing to read. Raises RenderFault for what cannot be used."""
    request = canvas.on_canvas(model, request)
    if model.follows is None:
        return generate.read_inputs(request)
    if model.modular or "pose_video" not in request.inputs:
        # the preprocessing networks run on the device
        return None
    return given_guides(request, clips.probe(request.inputs[model.follows]), model.limits.max_frames)


def _follow(
    pipe: Any,
    model: Model,
    request: RenderRequest,
    monitor: RenderMonitor,
    eyes: Callable[[], Eyes],
    *,
    given: Guides | None,
) -> RenderedFrames:
    """Animate and replace: the clip decides the length and the frame rate, and its sound goes into the result."""
    clip, most, blocks = (
        Path(request.inputs[model.follows or ""]),
        model.limits.max_frames,
        len(pipe.transformer.blocks),
    )
    facts = clips.probe(clip)
    if model.pipeline[request.task] == MODULAR:
        monitor.follow(progress_plan_of(request, model, blocks, facts.about))
        animate2.count_steps(pipe, monitor)
        film = animate2.animate(pipe, request, facts, monitor, piece=model.segment or (facts.about, 1), most=most)
        return _followed(film, clip, facts)
    monitor.follow(progress_plan_of(request, model, blocks, facts.about, preprocessing=0.1))
    if "pose_video" in request.inputs:
        guides = given or given_guides(request, facts, most)
    else:
        guides = guides_of(eyes(), request, facts, most, monitor)
    count = len(guides.poses)
    if count < 2:
        raise RenderFault("invalid_input", "the clip ends at frame 0: one frame has no motion to follow")
    monitor.follow(progress_plan_of(request, model, blocks, count, preprocessing=0.1))
    film = Film(Path(request.out_dir))
    for frames in animate(pipe, request, guides, model.segment or (count, 1), monitor):
        film.extend(frames)
    return _followed(film, clip, facts)


def _followed(film: Film, clip: Path, facts: ClipFacts) -> RenderedFrames:
    notes = {"clip": {"fps": str(facts.fps), "frames": len(film), "sound": facts.sound}}
    return RenderedFrames(film.array(), facts.fps, lambda box: Sound(box, clip, facts.start_s), notes)


def given_guides(request: RenderRequest, facts: ClipFacts, most: int) -> Guides:
    """Guides that came with the request, preprocessed elsewhere: one clip for each, all as long as the poses."""
    roles = ["pose_video", "face_video"]
    if request.task == "replace":
        roles += ["background_video", "mask_video"]
    missing = [role for role in roles if role not in request.inputs]
    if missing:
        raise RenderFault("invalid_input", f"pose_video comes with {', '.join(roles[1:])}; {missing[0]} is missing")
    films, folder = {}, Path(request.out_dir)
    for role in roles:
        frames = clips.read(request.inputs[role], facts.fps, most)
        films[role] = Film.of(folder, frames if role == "face_video" else _covered(frames, request, role))
        if len(films[role]) != len(films["pose_video"]):
            raise RenderFault(
                "invalid_input",
                f"{role} has {len(films[role])} frames and pose_video {len(films['pose_video'])}; they go together",
            )
    return Guides(films["pose_video"], films["face_video"], films.get("background_video"), films.get("mask_video"))


def _covered(frames: Iterable[Any], request: RenderRequest, role: str) -> Iterator[Any]:
    import numpy as np
    from PIL import Image

    for frame in frames:
        picture = pictures.cover(Image.fromarray(frame), request.width, request.height)
        if role == "mask_video":
            picture = picture.convert("L").point(lambda value: 255 if value > 127 else 0)
        yield np.asarray(picture)
