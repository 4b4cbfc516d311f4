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
    locked   live ones that an operator locked: they take no more jobs
    """

    pool: str
    models: tuple[str, ...]
    memory: Memory | None
    workers: int
    able: int = 0
    idle: int = 0
    locked: int = 0


@dataclass(frozen=True)
class Takers:
    """Live workers of a pool that could render a job. offering: they render its model; holding: of those, with memory
    for it; open: of those, not locked by an operator. held: one that renders it and was seen lately has the memory."""

    offering: int
    holding: int
    open: int
    held: bool


def takers(offers: Iterable[PoolOffer], pool: str, model: str, needs: str) -> Takers:
    """Those for a job of the model, with the needs that the ledger keeps (farm.scheduling.memory_fit)."""
    offering = [one for one in offers if one.pool == pool and model in one.models]
    holding = [one for one in offering if one.memory is None or one.memory.holds(needs)]
    live, able = (sum(one.workers for one in found) for found in (offering, holding))
    return Takers(live, able, sum(one.workers - one.locked for one in holding), bool(holding))
