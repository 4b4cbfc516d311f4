"""The Python client of the farm's own API; `farm.client.client` documents it."""

from farm.client.client import (
    Client,
    Event,
    Files,
    Input,
    Jobs,
    Loras,
    Shot,
    UnexpectedAnswer,
    Unreachable,
    Uploads,
    Wear,
)

__all__ = [
    "Client",
    "Event",
    "Files",
    "Input",
    "Jobs",
    "Loras",
    "Shot",
    "UnexpectedAnswer",
    "Unreachable",
    "Uploads",
    "Wear",
]
