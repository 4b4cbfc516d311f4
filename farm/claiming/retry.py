"""Repeats calls to Redis and the object store until they answer: neither signals its return."""

import time
from collections.abc import Callable
from typing import TypeVar

from farm.jobs.errors import FaultCode, JobFault, Unavailable

Answer = TypeVar("Answer")

#: pauses between tries
_PAUSE_S, _PAUSE_MAX_S = 0.1, 2.0


def store(call: Callable[[], Answer], check: Callable[[], None], limit_s: float) -> Answer:
    """Ask the object store until it answers; `check` is called in between and may raise. JobFault storage_failed after
    limit_s."""
    deadline = time.monotonic() + limit_s
    pause_s = _PAUSE_S
    while True:
        try:
            return call()
        except Unavailable as error:
            check()
            if time.monotonic() > deadline:
                raise JobFault(FaultCode.STORAGE_FAILED, "the object store was away for too long") from error
            time.sleep(pause_s)  # the store says nothing when it is back
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def redis(call: Callable[[], Answer], check: Callable[[], None] = lambda: None) -> Answer:
    """Ask Redis until it answers: calls that may be repeated. `check` is called in between and may raise. An agent that
    must end does not wait for an attempt's thread; then the lease runs out, and the reaper decides."""
    pause_s = _PAUSE_S
    while True:
        try:
            return call()
        except Unavailable:
            check()
            time.sleep(pause_s)  # Redis says nothing when it is back
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)
