"""A whole farm under test: the real `wanfarm up` in a folder of its own, with short clocks, whose parts can be killed
and frozen. It knows no test."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import e2e_processes
import preloaded
import tomli_w
from redis import Redis

from farm.client import Client
from farm.config import Settings
from farm.embedded.folder import StateFolder
from farm.jobs.errors import Unavailable
from farm.ledger.connection import connect
from farm.ledger.ledger import Ledger
from farm.storage.store import Store
from farm.wire.own_views import JobView

HERE = Path(__file__).parent
#: parts of `wanfarm up` by their names in run.json; `agent` and `engine` are found below `worker`
PARTS = ("redis", "s3", "gateway", "io", "beat", "worker", "agent", "engine")
MODEL = "wan2.2-t2v-a14b-tiny"
#: of the embedded Redis
REDIS_PASSWORD = "e2e-password"
#: what a puppet's job looks like when nothing else is asked: files that are made in milliseconds
SMALL = {"model": MODEL, "width": 64, "height": 64, "frames": 5, "steps": 3, "fps": 8}
#: everything that waits for something waits this long at most, also where ten processes start on a busy machine; it is
#: no measurement
PATIENCE_S = 180.0


class Farm:
    """One farm. `settings` are sections of the TOML file over the short clocks below; `popen` starts it."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        popen: type[preloaded.Popen] = preloaded.Popen,
        **environment: str,
    ) -> None:
        self.folder, self._popen = folder, popen
        self.state_dir = folder / "state"
        # known before the first start, so that a test can give the farm another way to its own Redis
        notes = StateFolder(self.state_dir)
        notes.make()
        notes.remember(replace(notes.remembered(), redis_password=REDIS_PASSWORD))
        self.strings = folder / "strings"
        self.strings.mkdir(parents=True, exist_ok=True)
        self.config = folder / "farm-under-test.toml"
        self.config.write_text(tomli_w.dumps(_merged(SHORT_CLOCKS, settings or {})))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANFARM_", "E2E_"))}
        path = os.pathsep.join((str(HERE / "seams"), *filter(None, [os.environ.get("PYTHONPATH")])))
        self._environment = {**kept, "PYTHONPATH": path, "E2E_STRINGS": str(self.strings), **environment}
        self.up: subprocess.Popen[bytes] | None = None
        #: ids of every job that the farm has acknowledged
        self.acknowledged: list[str] = []
        self.expected: dict[str, str] = {}

    # --- the farm as a whole
    def start(self, *, workers: int = 1) -> Self:
        """`wanfarm up`, until every part is ready and `workers` agents have an engine."""
        with (self.folder / "up.log").open("ab") as log:
            self.up = self._popen(
                [sys.executable, "-m", "farm.cli", "up", "--config", self.config, "--state-dir", self.state_dir],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers = workers
        self.wait(self._is_up, "the farm to come up")
        self.settle()
        return self

    def stop(self) -> int:
        """SIGTERM, as an operator would; the exit status."""
        assert self.up is not None
        self.thaw_all()
        self.up.send_signal(signal.SIGTERM)
        try:
            return self.up.wait(PATIENCE_S)
        finally:
            self.kill_up()

    def stop_in_a_hurry(self) -> int:
        """A second SIGTERM after the first: running renders are handed back instead of finished."""
        assert self.up is not None
        self.up.send_signal(signal.SIGTERM)
        self.wait(lambda: self._phase("worker") == "stopping", "the worker to drain")
        # the same signal sent twice in a moment arrives once (farm.embedded.stack.SECOND_SIGNAL_S)
        time.sleep(0.5)
        return self.stop()

    def kill_up(self) -> None:
        """SIGKILL to `wanfarm up` itself: everything below must go with it."""
        assert self.up is not None
        self.up.kill()
        self.up.wait()

    def settle(self) -> None:
        """Until every part is ready again and every agent has an engine that takes work."""
        self.wait(self._is_settled, "every part to be ready", pause_s=0.3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.up is not None and self.up.poll() is None:
            self.thaw_all()
            self.kill_up()
        self.wait(lambda: not self.processes(), f"the processes of {self.state_dir} to end")

    # --- its parts
    def pids(self, part: str) -> list[int]:
        """Processes of a part by now; one, but for agents and engines."""
        if part in ("agent", "engine"):
            return [p.pid for p in self._below_worker(part)]
        pid = e2e_processes.run_file(self.state_dir).get("parts", {}).get(part, {}).get("pid")
        return [pid] if pid is not None and e2e_processes.alive(pid) else []

    def kill(self, part: str, pid: int | None = None) -> None:
        """SIGKILL to the part (`pid`: to that one of its processes), and until the kernel has carried it out."""
        self.signal(signal.SIGKILL, part, pid)

    def freeze(self, part: str, pid: int | None = None) -> None:
        self.signal(signal.SIGSTOP, part, pid)

    def thaw(self, part: str, pid: int | None = None) -> None:
        self.signal(signal.SIGCONT, part, pid)

    def thaw_all(self) -> None:
        for process in self.processes():
            _signal(process.pid, signal.SIGCONT)

    def signal(self, number: signal.Signals, part: str, pid: int | None = None) -> None:
        targets = self.pids(part) if pid is None else [pid]
        assert targets, f"no {part} runs"
        for target in targets:
            _signal(target, number)
        if number is signal.SIGKILL:
            self.wait(lambda: not any(map(e2e_processes.alive, targets)), f"{part} to die")

    def restarted(self, part: str, before: list[int]) -> Callable[[], bool]:
        """Whether `part` has a process again and none of those `before`."""

        def answer() -> bool:
            now = self.pids(part)
            return bool(now) and not set(now) & set(before)

        return answer

    def processes(self) -> list[e2e_processes.Process]:
        """Everything on this machine that has to do with this farm's folder."""
        return [p for p in e2e_processes.mentioning(str(self.folder)) if p.pid != os.getpid()]

    def engine_of(self, agent: int) -> list[int]:
        return [p.pid for p in e2e_processes.descendants(agent) if p.pid in self.pids("engine")]

    def agent_at(self, job: str) -> int:
        """The agent whose engine began the last render of `job`."""
        engine = self.renders(job)[-1][1]
        return next(p.parent for p in e2e_processes.everything() if p.pid == engine)

    # --- its insides
    @property
    def settings(self) -> Settings:
        """What the parts were started with."""
        return _read((self.state_dir / "farm.toml").read_text())

    @property
    def notes(self) -> dict[str, str]:
        return tomllib.loads((self.state_dir / "client.toml").read_text())

    def redis(self) -> Redis:
        return connect(self.settings.redis)

    def ledger(self) -> Ledger:
        return Ledger(self.redis(), self.settings)

    def store(self) -> Store:
        return Store(self.settings.s3)

    # --- jobs
    @property
    def client(self) -> Client:
        """Asks again for as long as a part may be away."""
        return Client(self.notes["url"], self.notes["key"], patience_s=PATIENCE_S)

    def impatient(self) -> Client:
        """Takes the first answer."""
        return Client(self.notes["url"], self.notes["key"], timeout_s=10.0, patience_s=0.0)

    def submit(self, prompt: str, **shot: Any) -> str:
        """The id of an acknowledged job; sent again under one idempotency key until it is."""
        with self.client as client:
            job = client.jobs.create(prompt, **{**SMALL, **shot})
        self.acknowledged.append(job.id)
        return job.id

    def job(self, job_id: str) -> JobView:
        with self.client as client:
            return client.jobs.get(job_id)

    def pull(self, string: str) -> None:
        """Let the puppets that wait for `string` go on."""
        (self.strings / string).touch()

    def renders(self, job: str | None = None) -> list[tuple[str, int]]:
        """(render id, engine's pid) of every render that a puppet has begun, in order."""
        try:
            lines = (self.strings / "renders").read_text().splitlines()
        except FileNotFoundError:
            return []
        begun = [(words[0], int(words[1])) for words in (line.split(" ", 2) for line in lines)]
        return [one for one in begun if job is None or one[0].startswith(job)]

    def wait_render(self, job: str, times: int = 1) -> None:
        self.wait(lambda: len(self.renders(job)) >= times, f"render {times} of {job}")

    def wait_over(self, *jobs: str) -> list[JobView]:
        """Until all are over; asks the ledger, so that a gateway that is away does not matter."""
        ledger = self.ledger()

        def over() -> bool:
            try:
                found = [ledger.find(job) for job in jobs]
            except Unavailable:
                return False
            return all(job is not None and job.finished_ms is not None for job in found)

        self.wait(over, f"{len(jobs)} jobs to end", pause_s=0.3)
        return [self.job(job) for job in jobs]

    def wait(
        self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S, pause_s: float = 0.1
    ) -> None:
        """Until `condition()`; fails with what the farm's logs say last. `pause_s`: between two looks after the first
        second; longer for what costs a request or a walk through /proc and does not pass."""
        begun = time.monotonic()
        end = begun + patience_s
        while not condition():
            if self.up is not None and self.up.poll() not in (None, 0, -signal.SIGKILL):
                raise AssertionError(f"`wanfarm up` has ended ({self.up.returncode})\n{self.last_words()}")
            if time.monotonic() > end:
                raise AssertionError(f"waited {patience_s:.0f} s for {what}\n{self.last_words()}")
            time.sleep(0.03 if time.monotonic() < begun + 1 else pause_s)

    def last_words(self, lines: int = 15) -> str:
        """The ends of all logs, for a failure's report."""
        told = []
        for log in [self.folder / "up.log", *sorted(self.state_dir.glob("logs/*.log"))]:
            if log.exists():
                ending = log.read_bytes()[-20_000:].decode(errors="replace").splitlines()[-lines:]
                told += [f"--- {log.name}", *ending]
        told.append(f"--- run.json: {e2e_processes.run_file(self.state_dir)}")
        return "\n".join(told)

    def _is_up(self) -> bool:
        running = e2e_processes.run_file(self.state_dir)
        return bool(running.get("up")) and self.up is not None and running.get("pid") == self.up.pid

    def _phase(self, part: str) -> str | None:
        return e2e_processes.run_file(self.state_dir).get("parts", {}).get(part, {}).get("phase")

    def _is_settled(self) -> bool:
        parts = list(e2e_processes.run_file(self.state_dir).get("parts", {}).values())
        if not parts or not all(p["phase"] == "ready" and e2e_processes.alive(p["pid"]) for p in parts):
            return False
        try:
            offering = [worker for worker in self.ledger().workers() if worker.status.models]
        except Unavailable:
            return False
        return len(offering) >= self._workers and len(self.pids("engine")) >= self._workers

    def _below_worker(self, part: str) -> list[e2e_processes.Process]:
        found = [p for pid in self.pids("worker") for p in e2e_processes.descendants(pid)]
        agents = [p for p in found if "farm.agent" in p.command]
        if part == "agent":
            return agents
        # an engine is known by the Launch on its command line
        return [p for p in found if '"commands"' in p.command and p not in agents]


#: seconds instead of minutes, so that a test sees the end of a lease
SHORT_CLOCKS: Mapping[str, Mapping[str, Any]] = {
    "redis": {"socket_timeout_s": 2.0, "connect_timeout_s": 1.0},
    "gateway": {"processes": 1, "threads": 8},
    "lease": {"seconds": 3.0, "stuck_s": 20.0, "cancel_grace_s": 2.0, "backoff_s": 0.2, "backoff_max_s": 1.0},
    "scheduling": {"reap_every_s": 0.5, "audit_every_s": 3.0, "permit_ttl_s": 2.0, "forget_every_s": 5.0},
    "intake": {"allow_networks": ["127.0.0.0/8"]},
    "worker": {"devices": "cpu", "engine": "puppet_engine", "io_threads": 4},
    "embedded": {"backoff_s": 0.1, "backoff_max_s": 1.0},
}


@cache
def _read(text: str) -> Settings:
    return Settings(**tomllib.loads(text))


def fresh_seed() -> int:
    return random.SystemRandom().randrange(1_000_000)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _merged(base: Mapping[str, Mapping[str, Any]], over: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {**base.get(name, {}), **over.get(name, {})} for name in {**base, **over}}
