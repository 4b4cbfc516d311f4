"""Two minutes of random faults with a seed, random jobs all the while; then quiet, and an audit of every law.

`make soak` or `pytest -m soak -s tests/e2e --soak-seed N`. The seed decides jobs and faults; which instruction each
fault interrupts is the machine's.
"""

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from blackhole import BlackHole
from e2e_laws import audit_end
from harness import PARTS, REDIS_PASSWORD, Farm

from farm.embedded.ports import free_port
from farm.jobs.errors import Conflict, FarmError, Unavailable
from farm.jobs.states import OPEN, State

SOAK_S = 120.0
#: scripts of the ledger that are carried out and reported as failed
LOST_ANSWERS = 0.03
#: prompts, how often each, and how their jobs may end when nothing but the farm's own faults befall them
JOBS: tuple[tuple[str, int, frozenset[State]], ...] = (
    ("ok", 6, frozenset({State.SUCCEEDED})),
    ("slow 100", 4, frozenset({State.SUCCEEDED})),
    ("slow 700", 6, frozenset({State.SUCCEEDED})),
    ("fault invalid_input", 1, frozenset({State.FAILED})),
    ("fault engine_error", 1, frozenset({State.FAILED})),
    ("die never", 1, frozenset({State.FAILED})),
    ("cancel hold never", 2, frozenset({State.CANCELLED})),
    ("cancel slow 700", 2, frozenset({State.CANCELLED, State.SUCCEEDED})),
    ("cancel deaf never", 1, frozenset({State.CANCELLED})),
)
#: no innocent job runs out of tries, and a guilty one does within the test
MANY_TRIES = {"max_attempts": 8, "poison_losses": 8, "backoff_s": 0.1, "backoff_max_s": 0.5}
#: open jobs at once: enough for a queue, few enough to be through soon
MOST_OPEN = 12


class Users:
    """People who submit and cancel, with the patience of a client library."""

    def __init__(self, farm: Farm, seed: int) -> None:
        self.allowed: dict[str, frozenset[State]] = {}
        self.kinds: Counter[str] = Counter()
        self._farm, self._dice = farm, random.Random(f"users {seed}")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        prompts, weights = [kind[0] for kind in JOBS], [kind[1] for kind in JOBS]
        endings = {kind[0]: kind[2] for kind in JOBS}
        while not self._over.is_set():
            [kind] = self._dice.choices(prompts, weights)
            pause_s = self._dice.uniform(0.02, 0.4)
            try:
                job = self._farm.submit(kind.removeprefix("cancel "))
                self.allowed[job], self.kinds[kind] = endings[kind], self.kinds[kind] + 1
                if kind.startswith("cancel "):
                    self._over.wait(self._dice.uniform(0, 1.5))
                    self._cancel(job)
                while self._open() >= MOST_OPEN and not self._over.wait(0.2):
                    pass
            except FarmError as error:
                # an answer that never came: the job, if there is one, was not acknowledged
                print(f"      a user gave up: {type(error).__name__}: {error}")
            self._over.wait(pause_s)

    def _cancel(self, job: str) -> None:
        """Until it is acknowledged; that the job is over may be the doing of a cancel whose answer was lost."""
        while True:
            try:
                with self._farm.client as client, contextlib.suppress(Conflict):
                    client.jobs.cancel(job)
            except FarmError:
                time.sleep(0.2)  # a user's pause
            else:
                return

    def _open(self) -> int:
        try:
            counts = self._farm.ledger().counts()
        except Unavailable:
            return 0
        return sum(counts.get(state, 0) for state in OPEN)


class Faults:
    """One after another, each with its healing."""

    def __init__(self, farm: Farm, hole: BlackHole, seed: int) -> None:
        self._farm, self._hole, self._dice = farm, hole, random.Random(f"faults {seed}")
        self.done: Counter[str] = Counter()

    def one(self) -> None:
        fault, weight = zip(*self._menu(), strict=True)
        [(name, act)] = self._dice.choices(fault, weight)
        print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
        act()
        words = name.split()
        self.done[" ".join(words[:2] if words[0] in ("kill", "freeze") else words[:3])] += 1

    def _menu(self) -> list[tuple[tuple[str, Callable[[], None]], int]]:
        part, lasting_s = self._dice.choice(PARTS), self._dice.uniform(0.5, 6.0)
        return [
            ((f"kill {part}", lambda: self._strike(part, self._farm.kill)), 12),
            ((f"freeze {part} {lasting_s:.1f} s", lambda: self._freeze(part, lasting_s)), 6),
            ((f"swallow the broker {lasting_s:.1f} s", lambda: self._swallow(lasting_s)), 2),
            (("kill wanfarm up", self._kill_up), 1),
            (("stop wanfarm up", self._stop_up), 1),
        ]

    def _strike(self, part: str, how: Callable[[str, int], None]) -> int | None:
        """One process of the part, if there is one just now."""
        pids = self._farm.pids(part)
        if not pids:
            return None
        pid = self._dice.choice(pids)
        how(part, pid)
        return pid

    def _freeze(self, part: str, lasting_s: float) -> None:
        pid = self._strike(part, self._farm.freeze)
        time.sleep(lasting_s)  # the length of the fault
        if pid is not None:
            self._farm.thaw(part, pid)

    def _swallow(self, lasting_s: float) -> None:
        self._hole.swallow()
        time.sleep(lasting_s)  # the length of the fault
        self._hole.heal()

    def _kill_up(self) -> None:
        self._farm.kill_up()
        self._farm.start(workers=2)

    def _stop_up(self) -> None:
        self._farm.stop_in_a_hurry()
        self._farm.start(workers=2)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_soak(tmp_path: Path, soak_seed: int) -> None:
    print(f"\nsoak seed {soak_seed} (repeat with --soak-seed {soak_seed})", flush=True)
    dice = random.Random(f"pauses {soak_seed}")
    with BlackHole(free_port()) as hole:
        settings = {
            # so many faults look like a bad device, which shall be back before the end
            "worker": {"devices": "cpu:2", "quarantine_s": 2.0, "quarantine_max_s": 4.0},
            "gateway": {"processes": 2},
            "embedded": {"redis_port": hole.target},
            "redis": {"broker_url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{hole.port}/1"},
            "lease": MANY_TRIES,
        }
        with Farm(tmp_path, settings, E2E_FLAKY=f"{soak_seed}:{LOST_ANSWERS}") as farm:
            farm.start(workers=2)
            users, faults = Users(farm, soak_seed), Faults(farm, hole, soak_seed)
            users.start()
            end = time.monotonic() + SOAK_S
            try:
                while time.monotonic() < end:
                    time.sleep(dice.uniform(0.3, 3.0))  # the farm between two faults
                    faults.one()
            finally:
                hole.heal()
                farm.thaw_all()
                users.stop()
            farm.settle()
            _wait_quiet(farm)
            ends = audit_end(farm)
            _endings_as_allowed(farm, users)
    print(f"jobs {dict(users.kinds)}\nfaults {dict(faults.done)}\nended {dict(ends.states)}")
    print(f"attempts needed {dict(sorted(ends.attempts.items()))}, errors {dict(ends.errors)}")


def _wait_quiet(farm: Farm) -> None:
    """Until no job is open, also of those whose acknowledgement was lost."""

    def quiet() -> bool:
        try:
            counts = farm.ledger().counts()
        except Unavailable:
            return False
        return not any(counts.get(state, 0) for state in OPEN)

    farm.wait(quiet, "every job to end", patience_s=120.0)


def _endings_as_allowed(farm: Farm, users: Users) -> None:
    ledger, wrong = farm.ledger(), []
    for job_id, allowed in users.allowed.items():
        job = ledger.find(job_id)
        if job is not None and job.state not in allowed:
            wrong.append(f"{job_id} {job.spec.prompt!r}: {job.state} ({job.error_code}: {job.error_message})")
    assert not wrong, "\n".join(wrong)
