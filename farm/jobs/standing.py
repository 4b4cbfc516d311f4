"""How a queued job stands: what is before it, and what keeps it back."""

from dataclasses import dataclass
from enum import StrEnum


class Limit(StrEnum):
    """What keeps a tenant from starting more in a pool."""

    PAUSED = "tenant_paused"
    POOL_CAP = "pool_cap"
    CAP = "cap"
    #: the pool keeps what is free for tenants below their share
    HEADROOM = "headroom"


@dataclass(frozen=True)
class Standing:
    """own_s, others_s   predicted GPU-seconds before the job, of its own tenant and of all others together
    own_exact         False where more of its own stand before it than are added up
    above_s           what is queued in the tiers above, of anybody
    limit             what keeps its tenant from starting more
    running           attempts at work in its pool;  capacity  jobs that the pool's live workers take at once;  locked
                      those that workers would take which an operator locked
    fits              a worker of the pool that was seen lately holds it
    """

    own_s: float
    own_exact: bool
    others_s: float
    above_s: float
    limit: Limit | None
    pool_paused: bool
    lane_paused: bool
    running: int
    capacity: int
    locked: int
    fits: bool
