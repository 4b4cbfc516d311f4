"""What the workers of a pool offer, summed up: a pool has few different offers, however many workers."""

from collections.abc import Iterable
from dataclasses import dataclass

from farm.scheduling.memory_fit import Memory


@dataclass(frozen=True)
class PoolOffer:
    """What some workers of a pool have in common.

    models   ids of the models that they render; empty where they have not said
    memory   what their engines may use; None where they have not said
    workers  how many of them are live: 0 for an offer that was made lately and may come back
    able     of those, how many take jobs, or will, and are not too small for what waits
    idle     of those, how many would take one now
    """

    pool: str
    models: tuple[str, ...]
    memory: Memory | None
    workers: int
    able: int = 0
    idle: int = 0


def is_offered(offers: Iterable[PoolOffer], pool: str, model: str) -> bool:
    """Whether a live worker of the pool renders the model."""
    return any(one.workers and one.pool == pool and model in one.models for one in offers)
