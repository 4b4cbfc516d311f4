"""The Python client of the farm's own API; `farm.client.client` documents it."""

from farm.client.client import (
    Client,
    Event,
    Files,
    Input,
    JobLora,
    Jobs,
    Loras,
    Shot,
    UnexpectedAnswer,
    Unreachable,
    Uploads,
)

__all__ = [
    "Client",
    "Event",
    "Files",
    "Input",
    "JobLora",
    "Jobs",
    "Loras",
    "Shot",
    "UnexpectedAnswer",
    "Unreachable",
    "Uploads",
]
