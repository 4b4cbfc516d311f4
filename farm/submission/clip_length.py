"""How long a clip will be that is made from another: its frames and their rate follow from the input, as the renderer
reads it. Pure; it fetches nothing and knows no job."""

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Protocol

from models.catalog import Model, ShapeError
from models.planning.frame_rate import counted, rational

#: what follows a clip frame by frame instead of the clip itself, when it comes ready-made
_POSES = "pose_video"
#: inputs that have to be as long as the result, where the model renders a length of its own choice
_AS_LONG = ("video", "mask_video")


class InputFacts(Protocol):
    """An input that intake has examined (farm.intake.media.Media, farm.jobs.spec.InputRef); None where a fact does
    not apply."""

    @property
    def width(self) -> int | None:
        """Pixels, as it is shown."""
        ...

    @property
    def height(self) -> int | None:
        """Pixels, as it is shown."""
        ...

    @property
    def frames(self) -> int | None:
        """Of a clip."""
        ...

    @property
    def fps(self) -> float | None:
        """Frames per second of a clip."""
        ...


def deciding(model: Model, roles: Collection[str]) -> tuple[str, ...]:
    """The inputs that decide the length of the result; none for a model that renders the length it is asked for."""
    if model.follows is not None:
        return tuple(role for role in (model.follows, _POSES) if role in roles)
    return tuple(role for role in _AS_LONG if role in roles)


def followed(model: Model, inputs: Mapping[str, InputFacts]) -> tuple[int, float] | None:
    """(frames, fps) that a model which follows its clip will render; None while an input was not examined.

    ShapeError on the role of a clip that is too long, or of one that has no motion.
    """
    roles = deciding(model, inputs)
    if model.follows is None or not _looked_at(inputs, roles):
        return None
    rate = inputs[model.follows].fps or 0.0
    role = roles[-1]
    frames = _at(inputs[role], rational(rate))
    if frames < 2:
        raise ShapeError(role, "the clip has one frame, and so no motion to follow")
    most = model.limits.max_frames
    if frames > most:
        told = f"the clip has {frames} frames ({frames / rate:.4g} s at {rate:.4g} fps)"
        raise ShapeError(role, f"{told}; {model.id} renders at most {most} ({most / rate:.4g} s). Cut it")
    return frames, int(rate) if rate == int(rate) else rate


def covered(model: Model, inputs: Mapping[str, InputFacts], asked: int | None, fps: float) -> int | None:
    """Frames, 4n+1, that a model which redraws the beginning of a clip will render at `fps`: `asked`, by default the
    model's own number, at most the clip's. None while an input was not examined.

    ShapeError on the role of a clip that is too short.
    """
    roles = deciding(model, inputs)
    if model.follows is not None or not roles or not _looked_at(inputs, roles):
        return None
    counts = {role: _at(inputs[role], Fraction(fps)) for role in roles}
    role = min(roles, key=lambda role: counts[role])
    there = counts[role]
    whole = (there - 1) // 4 * 4 + 1
    told = f"the clip has {there} frames ({there / fps:.4g} s) at {fps:g} fps"
    if whole < 5:
        raise ShapeError(role, f"{told}; {model.id} renders 5 at the least")
    if asked is not None and asked > there:
        raise ShapeError(role, f"{told} and {asked} are asked for; ask for {whole}, or send a longer one")
    return asked or min(model.defaults.frames, whole)


def _looked_at(inputs: Mapping[str, InputFacts], roles: Collection[str]) -> bool:
    return bool(roles) and all(inputs[role].frames and inputs[role].fps for role in roles)


def _at(clip: InputFacts, rate: Fraction) -> int:
    """Frames of a clip read at a rate; never more than there are."""
    own = rational(clip.fps or 0.0)
    return counted(((clip.frames or 0) - 1) / own, own, rate)
