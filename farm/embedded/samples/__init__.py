"""Pictures to try Wanfarm with, which ship with it. They were computed for it, under the project's own licence."""

from importlib import resources


def picture() -> bytes:
    """A JPEG, 960 x 640 pixels: a lake at sunset, a sailing boat, mountains and firs."""
    return (resources.files(__name__) / "lake.jpg").read_bytes()


def heart() -> bytes:
    """A PNG, 128 x 128 pixels: a red heart over water, of the tiny models' world."""
    return (resources.files(__name__) / "heart.png").read_bytes()
