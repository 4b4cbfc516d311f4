"""Decides the shape that a model renders, from the model, size and length of a draft. Pure.

Every refusal is an InvalidRequest that names the field as the asker named it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest
from farm.jobs.inputs import Kind, kind_of
from farm.jobs.spec import JobSpec
from farm.submission import clip_length
from farm.submission.clip_length import InputFacts
from models import catalog
from models.catalog import MODELS, Model, Settled, ShapeError, options

_SETTLED = ("width", "height", "frames", "fps", "steps", "guidance", "guidance_2", "shift")


@dataclass(frozen=True)
class Shape:
    """A settled shape. `picture_area`: pixels of the clip whose sides still have to be taken from the picture's
    aspect, because the picture is not here yet; None when the size is final. `length_of`: the same for frames and
    their rate, an input that decides them."""

    settled: Settled
    picture_area: int | None = None
    length_of: str | None = None


def task_of(draft: Draft, model: Model) -> str:
    """The task that the draft's inputs make, every one of them used."""
    roles = frozenset(draft.inputs)
    try:
        task = catalog.task_for(model, roles, draft.task)
    except ShapeError as error:
        raise draft.refused(error.field, error.detail) from None
    if unused := sorted(roles - set(model.roles(task))):
        raise draft.refused(unused[0], f"{task} with {model.id} takes no {unused[0]}")
    return task


def settle(draft: Draft, model: Model, task: str, seen: Mapping[str, InputFacts]) -> Shape:
    """Fill in defaults and check every limit. `seen`: those of the job's inputs that are here."""
    asked = {name: getattr(draft, name) for name in _SETTLED}
    asked["frames"] = frames = _frames(draft, model)
    deciding = clip_length.deciding(model, draft.inputs)
    missing = [one for one in deciding if one not in seen]
    asked |= _length(draft, model, {} if missing else {one: seen[one] for one in deciding}, frames)
    role = picture_role(draft.inputs)
    picture = _sides_of(seen.get(role or ""))
    area, aspect = _area(draft, model, picture)
    if area is not None:
        by = "aspect" if draft.aspect is not None else role if picture and role else "resolution"
        try:
            asked["width"], asked["height"] = sides(model, area, aspect)
        except InvalidRequest as error:
            raise draft.refused(by, error.detail) from None
    try:
        settled = catalog.settle(model, task, asked)
    except ShapeError as error:
        raise draft.refused(error.field, error.detail) from None
    waits = area is not None and draft.aspect is None and picture is None and role is not None
    open_length = bool(missing) and (model.follows is not None or frames is None)
    return Shape(settled, area if waits else None, missing[0] if open_length else None)


def finish(spec: JobSpec, inputs: Mapping[str, InputFacts]) -> Settled:
    """The shape of a job whose inputs are all here. InvalidRequest names an input that the model cannot follow."""
    model = MODELS[spec.model]
    asked: dict[str, Any] = {name: getattr(spec, name) for name in _SETTLED}
    role = picture_role(inputs)
    if spec.picture_area is not None and role is not None and (picture := _sides_of(inputs[role])) is not None:
        try:
            asked["width"], asked["height"] = sides(model, spec.picture_area, picture[0] / picture[1])
        except InvalidRequest as error:
            raise InvalidRequest(error.detail, role) from None
    try:
        frames = None if spec.length_of else spec.frames
        asked |= _decided(model, inputs, frames, spec.fps)
        return catalog.settle(model, spec.task, asked)
    except ShapeError as error:
        raise InvalidRequest(error.detail, error.field) from None


def options_of(draft: Draft, settled: Settled) -> Mapping[str, Any]:
    """The draft's options as the renderer takes them; InvalidRequest on `options.<name>` for one that it would not."""
    try:
        return options.check(settled.model, settled.task, settled.steps, settled.guidance, draft.options)
    except ShapeError as error:
        raise draft.refused(error.field, error.detail) from None


def sides(model: Model, area: int, aspect: float) -> tuple[int, int]:
    """(width, height) in pixels of a clip of about `area` at an aspect, by Wan's rule; InvalidRequest when the model
    does not render them."""
    width, height = catalog.size_of_area(model, area, aspect)
    try:
        catalog.settle(model, next(iter(model.tasks)), {"width": width, "height": height})
    except ShapeError as error:
        made = f"this shape makes a clip of {width}x{height}, and {error.field} {error.detail}"
        raise InvalidRequest(f"{made}; crop it, or give width and height") from None
    return width, height


def picture_role(roles: Iterable[str]) -> str | None:
    """The input that gives the result its shape by default: the clip that is redrawn or followed, else the first
    frame, else any picture or clip."""
    visual = [role for role in sorted(roles) if kind_of(role) is not Kind.SOUND]
    return next((role for role in ("video", "image") if role in visual), next(iter(visual), None))


def size_field(draft: Draft) -> str:
    """What of a draft made its clip as large as it is: the first that it gives."""
    fields = ("resolution", "width", "height", "frames", "seconds")
    return next((field for field in fields if getattr(draft, field) is not None), fields[0])


def _length(draft: Draft, model: Model, deciding: Mapping[str, InputFacts], frames: int | None) -> dict[str, Any]:
    """Frames and rate, as far as inputs decide them; none of `deciding` are here while one of them is not."""
    if model.follows is not None:
        for field in ("frames", "seconds", "fps"):
            if getattr(draft, field) is not None:
                raise draft.refused(field, f"{model.id} takes its length and its rate from the {model.follows}")
    fps = model.defaults.fps if draft.fps is None else draft.fps
    if not deciding or fps < model.limits.min_fps:
        return {}
    try:
        return _decided(model, deciding, frames, fps)
    except ShapeError as error:
        raise draft.refused(error.field, error.detail) from None


def _decided(model: Model, inputs: Mapping[str, InputFacts], frames: int | None, fps: float) -> dict[str, Any]:
    if (followed := clip_length.followed(model, inputs)) is not None:
        return dict(zip(("frames", "fps"), followed, strict=True))
    covered = clip_length.covered(model, inputs, frames, fps)
    return {} if covered is None else {"frames": covered}


def _sides_of(seen: InputFacts | None) -> tuple[int, int] | None:
    return (seen.width, seen.height) if seen is not None and seen.width and seen.height else None


def _frames(draft: Draft, model: Model) -> int | None:
    """Frames as asked, or the nearest 4n+1 to the seconds asked."""
    if draft.seconds is None:
        return draft.frames
    if draft.frames is not None:
        raise draft.refused("seconds", "give a length in frames or in seconds, not both")
    fps = draft.fps or model.defaults.fps
    frames = max(4 * round((draft.seconds * fps - 1) / 4) + 1, 5)
    if draft.seconds <= 0 or frames > model.limits.max_frames:
        longest = model.limits.max_frames / fps
        raise draft.refused("seconds", f"{draft.seconds:g} s is not between 0 and {longest:.4g} s at {fps} fps")
    return frames


def _area(draft: Draft, model: Model, picture: tuple[int, int] | None) -> tuple[int | None, float]:
    """(pixels, aspect) from which the sides follow; pixels is None when the sides were given or are the model's
    default."""
    given = draft.width is not None or draft.height is not None
    for field in ("resolution", "aspect"):
        if given and getattr(draft, field) is not None:
            raise draft.refused(field, "give a resolution, or width and height, not both")
    defaults = model.defaults
    own = defaults.width / defaults.height
    if given or (draft.resolution is None and draft.aspect is None and picture_role(draft.inputs) is None):
        return None, own
    if draft.aspect is not None and not 0.05 <= draft.aspect <= 20:
        raise draft.refused("aspect", f"{draft.aspect:g} is not between 0.05 and 20")
    area = defaults.width * defaults.height
    if draft.resolution is not None:
        words = model.resolutions
        if draft.resolution.lower() not in words:
            raise draft.refused("resolution", f"{draft.resolution!r} is none of {', '.join(words)}")
        area = words[draft.resolution.lower()]
    if draft.aspect is not None:
        return area, catalog.named_aspect(model, area, draft.aspect)
    return area, picture[0] / picture[1] if picture else own
