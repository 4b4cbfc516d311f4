"""What ships with Wanfarm to try it with. lake.jpg was computed for it, and is under the project's own licence."""

from importlib import resources


def picture() -> bytes:
    """A JPEG, 960 x 640 pixels: a lake at sunset, a sailing boat, mountains and firs."""
    return (resources.files(__name__) / "lake.jpg").read_bytes()
