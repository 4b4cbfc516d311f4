"""What beat asks for: no duty waits for another, and none piles up."""

import threading

from farm.io_worker.duties import Duties
from farm.jobs.errors import Unavailable
from tests.conftest import wait_until


def test_a_long_duty_delays_neither_the_others_nor_whoever_asks() -> None:
    go_on, swept, reaped = threading.Event(), [], []

    def sweep() -> None:
        go_on.wait(90)
        swept.append(1)

    duties = Duties({"sweep": sweep, "reap": lambda: reaped.append(1)})
    assert duties.begin("sweep")
    # beat asks again and again: nothing is queued, and nothing blocks
    assert not any(duties.begin("sweep") for _ in range(20))
    for n in range(3):
        wait_until(lambda: duties.begin("reap"), what="the last reap to end")
        wait_until(lambda n=n: len(reaped) == n + 1, what="reaping")
    assert swept == []
    go_on.set()
    wait_until(lambda: swept, what="the sweep")
    wait_until(lambda: duties.begin("sweep"), what="the sweep to be over")


def test_a_duty_that_fails_is_begun_again() -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise (Unavailable("Redis is away") if len(calls) == 1 else ValueError("a mistake"))

    duties = Duties({"audit": fail})
    for n in range(3):
        wait_until(lambda: duties.begin("audit"), what="the last audit to end")
        wait_until(lambda n=n: len(calls) == n + 1, what="the audit")
