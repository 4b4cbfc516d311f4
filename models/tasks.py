"""What is done for each task: its inputs are read, its pipeline is run, and what comes out is made ready to encode."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from models import clips, pictures
from models.animate import Guides, animate
from models.clips import ClipFacts
from models.course import course_of
from models.film import Film
from models.generate import Made, generate
from models.model import Model
from models.request import RenderFault, RenderRequest, Stage
from models.sound import Sound
from models.watch import Watch


def make(pipe: Any, model: Model, request: RenderRequest, watch: Watch, preprocess: Any = None) -> Made:
    """Do the request's task. Raises RenderFault for inputs that cannot be used, Cancelled through the watch.

    preprocess  makes Animate's Guides from a clip: (request, facts, folder, watch) -> Guides
    """
    watch.enter(Stage.PREPROCESSING)
    if model.follows is None:
        watch.follow(course_of(request, model, _blocks(pipe), request.frames))
        return generate(pipe, request, watch)
    return _follow(pipe, model, request, watch, preprocess)


def _follow(
    pipe: Any, model: Model, request: RenderRequest, watch: Watch, preprocess: Callable[..., Guides] | None
) -> Made:
    """Animate and replace: the clip decides the length and the frame rate, and its sound goes into the result."""
    clip = Path(request.inputs[model.follows or ""])
    facts, folder = clips.probe(clip), Path(request.out_dir)
    if "pose_video" in request.inputs:
        guides = given_guides(request, facts, model.limits.max_frames, folder)
    elif preprocess is not None:
        guides = preprocess(request, facts, folder, watch)
    else:
        raise RenderFault("engine_error", f"the preprocessing weights of {model.id} are not on this machine")
    count = len(guides.poses)
    if count < 2:
        raise RenderFault("invalid_input", "the clip has one frame; there is no motion to follow")
    watch.follow(course_of(request, model, _blocks(pipe), count, preprocessing=0.1))
    overlap = model.segment or (count, 1)
    film = Film(folder)
    for frames in animate(pipe, request, guides, overlap, watch):
        film.extend(frames)
    notes = {"clip": {"fps": str(facts.fps), "frames": count, "sound": facts.sound}}
    return Made(film.array(), facts.fps, lambda box: Sound(box, clip, facts.start_s), notes)


def given_guides(request: RenderRequest, facts: ClipFacts, most: int, folder: Path) -> Guides:
    """Guides that came with the request, preprocessed elsewhere: one clip for each, all as long as the poses."""
    roles = ["pose_video", "face_video"]
    if request.task == "replace":
        roles += ["background_video", "mask_video"]
    missing = [role for role in roles if role not in request.inputs]
    if missing:
        raise RenderFault("invalid_input", f"pose_video comes with {', '.join(roles[1:])}; {missing[0]} is missing")
    films = {}
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


def _blocks(pipe: Any) -> int:
    return len(pipe.transformer.blocks)


def rate_of(made: Made) -> int | Fraction:
    """The rate as a whole number where it is one: recipes are easier to read so."""
    return int(made.fps) if made.fps.denominator == 1 else made.fps
