"""Submitting a moment after `wanfarm up`: its workers start for some time, and until then the farm takes nothing."""

import time
from collections.abc import Callable
from typing import TypeVar

from farm.cli.session import Session

#: seconds: a worker looks at its device, and at the weights that it is to offer
_WAIT_S = 180.0
_R = TypeVar("_R")


def once_there_is_one(session: Session, ask: Callable[[], _R]) -> _R:
    """What `ask` answers. While no worker has said yet what it renders, it says so once and asks again. Raises as
    `ask`; NoWorkerYet after _WAIT_S."""
    from farm.jobs.errors import NoWorkerYet

    end, said = time.monotonic() + _WAIT_S, False
    while True:
        try:
            return ask()
        except NoWorkerYet:
            # the client has waited between its own tries
            if time.monotonic() >= end:
                raise
            if not said:
                session.out.say("no worker has said yet which models it renders: waiting for the first one")
                said = True
