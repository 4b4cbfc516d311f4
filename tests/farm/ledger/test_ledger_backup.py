"""A copy of the append-only files, made while jobs are admitted and rendered, is a ledger: everything that was
acknowledged before the copy is in it, and what happened after it is fenced."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger_parts import ARTIFACTS, POOL, audit, new_job, outage
from own_redis import redis_command
from spare_redis import answers

from farm.config import RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.jobs.states import State
from farm.ledger import CommitOutcome, Ledger, connect
from tests.conftest import wait_until


@contextmanager
def ledger_in(folder: Path) -> Iterator[Ledger]:
    """A Redis that keeps its files there, and the ledger on it."""
    port = free_port()
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        server = subprocess.Popen(redis_command(folder, port), stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port), what="Redis")
        settings = Settings(redis=RedisSettings(ledger_url=f"redis://127.0.0.1:{port}/0"))
        with connect(settings.redis) as client:
            yield Ledger(client, settings)
    finally:
        server.kill()
        server.wait()


class Working(threading.Thread):
    """Admits, claims and commits, one job after another; `done` are acknowledged admissions."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(daemon=True)
        self._ledger, self._over = ledger, threading.Event()
        self.done: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            answers, _ = self._ledger.admit([new_job(hold=1), new_job(hold=1)])
            self.done += [answer.id for answer in answers]
            claim = self._ledger.claim(POOL, "w1")
            assert claim is not None
            self._ledger.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1)

    def end(self) -> None:
        self._over.set()
        self.join()


def test_a_copy_made_at_work_is_a_ledger(tmp_path: Path) -> None:
    with ledger_in(tmp_path / "redis") as ledger:
        ledger.topup("acme", 1_000_000, reference="once")
        working = Working(ledger)
        working.start()
        wait_until(lambda: len(working.done) > 20, what="work")
        before = list(working.done)
        copy = Path(shutil.copytree(tmp_path / "redis", tmp_path / "copy"))
        wait_until(lambda: len(working.done) > len(before) + 4, what="more work")
        working.end()
        held = ledger.claim(POOL, "w1")
        assert held is not None
    with ledger_in(copy) as restored:
        assert all(restored.find(job_id) is not None for job_id in before)
        assert audit(restored) == {}
        counts, account = restored.counts("acme"), restored.credit("acme")
        assert account is not None
        assert (account.balance, account.held) == (
            1_000_000 - counts[State.SUCCEEDED],
            counts[State.QUEUED] + counts[State.RUNNING],
        )
        # what was claimed when the copy was made comes back when its lease is over
        outage(restored._redis, 200)
        restored.reap()
        outage(restored._redis, 200)
        restored.reap()
        assert restored.counts("acme")[State.RUNNING] == 0
        # a worker of the time after the copy: its attempt may have the same number, and is fenced
        assert restored.commit(held.job.id, held.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.FENCED
        while (claim := restored.claim(POOL, "w2")) is not None:
            restored.heartbeat(claim.job.id, claim.attempt)
            assert restored.commit(claim.job.id, claim.attempt, ARTIFACTS, gpu_s=1) is CommitOutcome.COMMITTED
        assert audit(restored) == {}
