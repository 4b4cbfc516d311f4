"""Acts on many jobs are done: some at once, so that a small batch has its answer, the rest by the io worker."""

import time
import uuid
from collections.abc import Callable

from farm.ledger import Ledger
from farm.ledger.outcomes import PermitPublisher

#: s that a request works on the act that it asks for
AT_ONCE_S = 1.0


def new_act_id() -> str:
    """A new id of an act."""
    return f"act_{uuid.uuid4().hex}"


def work(
    ledger: Ledger,
    permits: PermitPublisher,
    act_id: str,
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Go on with an act for so long, and one step at least. Whether it is over. Raises Unavailable."""
    end = clock() + seconds
    while True:
        more, wanted = ledger.step_act(act_id)
        permits.publish(wanted)
        if not more or clock() > end:
            return not more
