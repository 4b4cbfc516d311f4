"""From what a draft says about model, size and length to a shape that the model renders. Pure.

Every refusal is an InvalidRequest that names the field as the asker named it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farm.intake.media import Kind, kind_of
from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest
from models import catalog, options
from models.catalog import Model, Settled, ShapeError

_WHOLE = ("width", "height", "frames", "fps", "steps", "seed", "priority", "deadline_ms", "max_attempts")
_NUMBERS = ("aspect", "seconds", "guidance", "guidance_2", "shift")
_SETTLED = ("width", "height", "frames", "fps", "steps", "guidance", "guidance_2", "shift")


@dataclass(frozen=True)
class Shape:
    """A settled shape. `picture_area`: pixels of the clip whose sides still have to be taken from the picture's
    aspect, because the picture is not here yet; None when the size is final."""

    settled: Settled
    picture_area: int | None = None


def check_numbers(draft: Draft) -> None:
    """Whole numbers are whole, numbers are finite, and neither is a bool."""
    for field in _WHOLE:
        value: Any = getattr(draft, field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise refused(draft, field, "must be a whole number")
    for field in _NUMBERS:
        value = getattr(draft, field)
        if value is None:
            continue
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            raise refused(draft, field, "must be a number")


def task_of(draft: Draft, model: Model) -> str:
    """The task that the draft's inputs make, every one of them used."""
    roles = frozenset(draft.inputs)
    try:
        task = catalog.task_for(model, roles, draft.task)
    except ShapeError as error:
        raise refused(draft, error.field, error.detail) from None
    if unused := sorted(roles - set(model.roles(task))):
        raise refused(draft, unused[0], f"{task} with {model.id} takes no {unused[0]}")
    return task


def settle(draft: Draft, model: Model, task: str, picture: tuple[int, int] | None) -> Shape:
    """Fill in defaults and check every limit. `picture`: (width, height) of the job's picture, None when it has none or
    it is not here yet."""
    asked = {name: getattr(draft, name) for name in _SETTLED}
    asked["frames"] = _frames(draft, model)
    role = picture_role(draft.inputs)
    area, aspect = _area(draft, model, picture)
    if area is not None:
        by = "aspect" if draft.aspect is not None else role if picture and role else "resolution"
        try:
            asked["width"], asked["height"] = sides(model, area, aspect)
        except InvalidRequest as error:
            raise refused(draft, by, error.detail) from None
    try:
        settled = catalog.settle(model, task, asked)
    except ShapeError as error:
        raise refused(draft, error.field, error.detail) from None
    waits = area is not None and draft.aspect is None and picture is None and role is not None
    return Shape(settled, area if waits else None)


def options_of(draft: Draft, settled: Settled) -> Mapping[str, Any]:
    """The draft's options as the renderer takes them; InvalidRequest on `options.<name>` for one that it would not."""
    try:
        return options.check(settled.model, settled.task, settled.steps, settled.guidance, draft.options)
    except ShapeError as error:
        raise refused(draft, error.field, error.detail) from None


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
    """The input whose shape a clip takes when nobody says otherwise: the clip that is redrawn or followed, else the
    first frame, else any picture or clip."""
    visual = [role for role in sorted(roles) if kind_of(role) is not Kind.SOUND]
    return next((role for role in ("video", "image") if role in visual), next(iter(visual), None))


def refused(draft: Draft, field: str, detail: str) -> InvalidRequest:
    """An error about `field`, under the name that the asker used."""
    return InvalidRequest(detail, draft.field_names.get(field, field))


def _frames(draft: Draft, model: Model) -> int | None:
    """Frames as asked, or the nearest 4n+1 to the seconds asked."""
    if draft.seconds is None:
        return draft.frames
    if draft.frames is not None:
        raise refused(draft, "seconds", "give a length in frames or in seconds, not both")
    fps = draft.fps or model.defaults.fps
    frames = max(4 * round((draft.seconds * fps - 1) / 4) + 1, 5)
    if draft.seconds <= 0 or frames > model.limits.max_frames:
        longest = model.limits.max_frames / fps
        raise refused(draft, "seconds", f"{draft.seconds:g} s is not between 0 and {longest:.4g} s at {fps} fps")
    return frames


def _area(draft: Draft, model: Model, picture: tuple[int, int] | None) -> tuple[int | None, float]:
    """(pixels, aspect) of a clip whose sides follow from them; no pixels when the sides were given or are the model's
    own default."""
    given = draft.width is not None or draft.height is not None
    for field in ("resolution", "aspect"):
        if given and getattr(draft, field) is not None:
            raise refused(draft, field, "give a resolution, or width and height, not both")
    defaults = model.defaults
    own = defaults.width / defaults.height
    if given or (draft.resolution is None and draft.aspect is None and picture_role(draft.inputs) is None):
        return None, own
    if draft.aspect is not None and not 0.05 <= draft.aspect <= 20:
        raise refused(draft, "aspect", f"{draft.aspect:g} is not between 0.05 and 20")
    area = defaults.width * defaults.height
    if draft.resolution is not None:
        words = model.resolutions
        if draft.resolution.lower() not in words:
            raise refused(draft, "resolution", f"{draft.resolution!r} is none of {', '.join(words)}")
        area = words[draft.resolution.lower()]
    if draft.aspect is not None:
        return area, draft.aspect
    return area, picture[0] / picture[1] if picture else own
