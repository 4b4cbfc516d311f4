"""A job as somebody asked for it, in any dialect, before validation: None means that the asker left it out.

Every dialect parses into a Draft; farm.submission.submit turns drafts into NewJobs, in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.jobs.errors import InvalidRequest
from farm.jobs.states import Tier

#: the one entry of dialect_data that the farm makes up and nobody asked for: the secret part of wiro's token
TOKEN_TAIL = "tail"  # noqa: S105 - a name


@dataclass(frozen=True)
class Source:
    """Where an input comes from: exactly one of `url`, `data` (decoded bytes), `upload` (id of a presigned PUT),
    `base64` (text as it came, with or without data-URI prefix) or `last_frame_of` (id of a job that comes first)."""

    url: str | None = None
    data: bytes | None = None
    upload: str | None = None
    base64: str | None = None
    last_frame_of: str | None = None


@dataclass(frozen=True)
class Draft:
    """Fields as in farm.jobs.spec.JobSpec and farm.jobs.job.NewJob.

    model       catalog id; None takes the default of the task
    resolution, aspect   a resolution word ("480p") and width / height, instead of width and height; an aspect of
                         None means the picture's own, or the model's default without a picture
    external    what may be bought for it elsewhere: never, same, family, any; None: as its tenant allows
    seconds     length of the clip instead of frames
    field_names our field -> the name that the asker used, so that an error names what they wrote
    """

    prompt: str | None
    model: str | None = None
    task: str | None = None
    negative_prompt: str | None = None
    width: int | None = None
    height: int | None = None
    resolution: str | None = None
    aspect: float | None = None
    frames: int | None = None
    seconds: float | None = None
    fps: int | None = None
    steps: int | None = None
    guidance: float | None = None
    guidance_2: float | None = None
    shift: float | None = None
    seed: int | None = None
    inputs: Mapping[str, Source] = field(default_factory=dict)
    loras: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    deadline_ms: int | None = None
    tier: Tier = Tier.NORMAL
    start_by_ms: int | None = None
    max_attempts: int | None = None
    idempotency_key: str | None = None
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    webhook_url: str | None = None
    label: str | None = None
    external: str | None = None
    dialect: str = "farm"
    dialect_data: Mapping[str, Any] = field(default_factory=dict)
    field_names: Mapping[str, str] = field(default_factory=dict)
    #: whether the dialect knows no other values for size and length: then the nearest that memory holds will do
    nearest: bool = False

    def called(self, field: str) -> str:
        """The asker's name for one of our fields."""
        return self.field_names.get(field, field)

    def refused(self, field: str, detail: str) -> InvalidRequest:
        """An error about `field`, under the name that the asker used."""
        return InvalidRequest(detail, self.called(field))
