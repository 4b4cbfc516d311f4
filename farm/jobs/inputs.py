"""The kinds of file that a job's inputs are, by role."""

from enum import StrEnum


class Kind(StrEnum):
    """What a role of input holds. The value is how it is called in a sentence."""

    PICTURE = "picture"
    CLIP = "video"
    SOUND = "audio"


def kind_of(role: str) -> Kind:
    """What an input role holds: "image", "last_image", "mask", ... are pictures, "driving_video" a clip."""
    last = role.rpartition("_")[2]
    return {"video": Kind.CLIP, "audio": Kind.SOUND}.get(last, Kind.PICTURE)
