"""The kinds of file that a job's inputs are, by role."""

from enum import StrEnum


class Kind(StrEnum):
    """The kind of file that an input role holds. The value is the word for it in messages."""

    PICTURE = "picture"
    CLIP = "video"
    SOUND = "audio"


def kind_of(role: str) -> Kind:
    """The kind of an input role: "image", "last_image", "mask", ... are pictures, "driving_video" a clip."""
    last = role.rpartition("_")[2]
    return {"video": Kind.CLIP, "audio": Kind.SOUND}.get(last, Kind.PICTURE)
