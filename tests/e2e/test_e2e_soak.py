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
from urllib.parse import urlsplit

import pytest
from blackhole import BlackHole
from e2e_laws import audit_end
from harness import PARTS, REDIS_PASSWORD, Farm
from host_faults import HostClock, fill, small_disk

from bench.floods import FLOODS, Flood
from farm.embedded.ports import free_port
from farm.jobs.errors import Conflict, FarmError, FaultCode, Unavailable
from farm.jobs.states import OPEN, State
from farm.tenants.tenants import Tenants

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
#: no innocent job runs out of tries, and a guilty one does within the test; what takes its worker down twice is called
#: poisonous, as everywhere
MANY_TRIES = {"max_attempts": 8, "backoff_s": 0.1, "backoff_max_s": 0.5}
#: attempts that a fault of that part may take down: one that renders and one that is encoded or uploaded, per agent; a
#: store or a ledger that stands still may look like it
LOSSES = {"engine": 2, "agent": 2, "worker": 4, "redis": 4, "s3": 4}
#: floods that leave no job behind, which would have to be rendered
HARMLESS = tuple(name for name in FLOODS if not name.startswith(("none", "64 x ")))
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

    def __init__(self, farm: Farm, hole: BlackHole, clock: HostClock, disk: Path | None, seed: int) -> None:
        """`disk`: where the workers' scratch is, if it is a small disk."""
        self._farm, self._hole, self._dice = farm, hole, random.Random(f"faults {seed}")
        self._clock, self._disk = clock, disk
        tenants = Tenants(farm.redis(), farm.settings)
        tenants.create("mallory")
        self._mallory = tenants.api_keys.create("mallory")[1]
        self.done: Counter[str] = Counter()
        #: attempts that the faults may have taken down with their workers
        self.losses = 0

    def one(self) -> None:
        fault, weight = zip(*self._menu(), strict=True)
        [(name, act)] = self._dice.choices(fault, weight)
        print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
        act()
        words = name.split()
        self.done[" ".join(words[:2] if words[0] in ("kill", "freeze", "flood") else words[:3])] += 1

    def _menu(self) -> list[tuple[tuple[str, Callable[[], None]], int]]:
        part, lasting_s = self._dice.choice(PARTS), self._dice.uniform(0.5, 6.0)
        flood = self._dice.choice(HARMLESS)
        # no farther than the store, whose clock stays, lets a signature be off
        stall_s, clock_s = self._dice.uniform(6.0, 20.0), self._dice.choice([-600, -60, -5, 0, 5, 60, 600])
        host = [((f"set the clock {clock_s:+d} s", lambda: self._clock.set(clock_s)), 2)] if self._clock.works else []
        if self._disk is not None:
            host.append(((f"fill the scratch disk {lasting_s:.1f} s", lambda: self._fill(lasting_s)), 2))
        return [
            *host,
            ((f"stall the ledger {stall_s:.1f} s", lambda: self._freeze("redis", stall_s)), 1),
            ((f"kill {part}", lambda: self._strike(part, self._farm.kill)), 12),
            ((f"freeze {part} {lasting_s:.1f} s", lambda: self._freeze(part, lasting_s)), 6),
            ((f"swallow the broker {lasting_s:.1f} s", lambda: self._swallow(lasting_s)), 2),
            ((f"flood the gateway {lasting_s:.1f} s: {flood}", lambda: self._flood(flood, lasting_s)), 4),
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
        self.losses += LOSSES.get(part, 0)
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

    def _flood(self, name: str, lasting_s: float) -> None:
        """From another tenant, or from nobody. Meanwhile whoever asks is answered, as soon as a gateway is there."""
        flood = Flood(urlsplit(self._farm.notes["url"]).port or 0, self._mallory)
        threading.Thread(target=FLOODS[name], args=(flood,), daemon=True).start()
        try:
            time.sleep(lasting_s)  # the length of the fault
            with self._farm.client as client:
                next(client.jobs.list(), None)
        finally:
            flood.close()

    def _fill(self, lasting_s: float) -> None:
        assert self._disk is not None
        filler = fill(self._disk)
        time.sleep(lasting_s)  # the length of the fault
        filler.unlink()

    def _kill_up(self) -> None:
        self.losses += LOSSES["worker"]
        self._farm.kill_up()
        self._farm.start(workers=2)

    def _stop_up(self) -> None:
        self.losses += LOSSES["worker"]
        self._farm.stop_in_a_hurry()
        self._farm.start(workers=2)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_soak(tmp_path: Path, soak_seed: int) -> None:
    print(f"\nsoak seed {soak_seed} (repeat with --soak-seed {soak_seed})", flush=True)
    dice = random.Random(f"pauses {soak_seed}")
    clock = HostClock(tmp_path)
    scratch = tmp_path / "state" / "scratch"
    with BlackHole(free_port()) as hole, small_disk(scratch) as mounted:
        settings = {
            # so many faults look like a bad device, which shall be back before the end
            "worker": {"devices": "cpu:2", "quarantine_s": 2.0, "quarantine_max_s": 4.0},
            "gateway": {"processes": 2},
            "embedded": {"redis_port": hole.target},
            "redis": {"broker_url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{hole.port}/1"},
            "lease": MANY_TRIES,
        }
        flaky = {"E2E_FLAKY": f"{soak_seed}:{LOST_ANSWERS}"}
        with Farm(tmp_path, settings, **flaky, **clock.environment) as farm:
            farm.start(workers=2)
            users, faults = Users(farm, soak_seed), Faults(farm, hole, clock, scratch if mounted else None, soak_seed)
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
            _endings_as_allowed(farm, users, faults)
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


def _endings_as_allowed(farm: Farm, users: Users, faults: Faults) -> None:
    ledger, wrong, poisonous = farm.ledger(), [], 0
    for job_id, allowed in users.allowed.items():
        job = ledger.find(job_id)
        if job is not None and job.error_code == FaultCode.POISONOUS and State.FAILED not in allowed:
            # twice in a worker that was taken down: nobody can tell that from a job that takes it down
            poisonous += 1
        elif job is not None and job.state not in allowed:
            wrong.append(f"{job_id} {job.spec.prompt!r}: {job.state} ({job.error_code}: {job.error_message})")
    assert not wrong, "\n".join(wrong)
    assert 2 * poisonous <= faults.losses, f"{poisonous} called poisonous, and {faults.losses} attempts taken down"
