"""A job's request after validation: every default is filled in, so a stored spec keeps its meaning when the catalog
changes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from models.planning.request import RenderSettings


@dataclass(frozen=True)
class InputRef:
    """An input of a job, by role. Either stored content or, before intake, where it is: an address (`url`), an upload
    that was sent before, or the last frame of another job's result.

    sha256   of the bytes that were sent
    key      object key, `inputs/{tenant}/{kept_sha256}`, of what the farm keeps of them; content_type, size and all
             below are about that, and so about what is rendered
    width, height  pixels, of pictures and clips;  seconds  of clips and sound;  frames, fps  of clips, at a constant
                   rate
    notes    what of the file was left out or taken otherwise, in sentences for its owner
    """

    url: str | None = None
    sha256: str | None = None
    key: str | None = None
    content_type: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frames: int | None = None
    fps: float | None = None
    kept_sha256: str | None = None
    notes: tuple[str, ...] = ()
    upload: str | None = None
    last_frame_of: str | None = None

    @property
    def stored(self) -> bool:
        """Whether intake has stored the content."""
        return self.key is not None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The reference that a job's record holds."""
        return cls(**{**raw, "notes": tuple(raw.get("notes", ()))})


@dataclass(frozen=True)
class JobSpec(RenderSettings):
    """The render that was asked for; inputs are references.

    picture_area   pixels of the clip, while its sides still have to be taken from the aspect of a picture that intake
                   has not fetched yet (width and height are the model's own until then); None when they are final
    length_of      the same for frames and fps: an input that still decides them; None when they are final
    """

    inputs: Mapping[str, InputRef] = field(default_factory=dict)
    loras: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    picture_area: int | None = None
    length_of: str | None = None

    @property
    def needs_intake(self) -> bool:
        """Whether any input is still an address."""
        return any(not ref.stored for ref in self.inputs.values())

    @property
    def sides_known(self) -> bool:
        """Whether width and height are the job's, or only what its model does by default."""
        return self.picture_area is None

    @property
    def length_known(self) -> bool:
        """The same of frames and fps."""
        return self.length_of is None

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The spec back from to_json."""
        values = dict(raw)
        values["inputs"] = {role: InputRef.from_json(ref) for role, ref in values.get("inputs", {}).items()}
        values["loras"] = tuple(values.get("loras", ()))
        return cls(**values)
