"""A small farm for these tests: real Redis, S3, agents and engines; jobs whose prompts say what the engine does."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import preloaded

from farm.agent.supervisor import agent_command
from farm.claiming.permits import Permits
from farm.config import Settings
from farm.embedded import settings_file
from farm.engine.slots import Slot
from farm.io_worker.housekeeping import Housekeeping
from farm.jobs.errors import Unavailable
from farm.jobs.ids import new_job_id
from farm.jobs.job import Job, NewJob
from farm.jobs.spec import InputRef, JobSpec
from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.ledger.connection import connect
from farm.storage.store import Store
from tests.conftest import wait_until

ROOT = Path(__file__).parents[3]
TENANT = "studio"


def gone(pid: int) -> bool:
    """Whether no process of that number runs; one that waits to be reaped has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid: int) -> list[int]:
    """Without the process from which preloaded.py forks what a supervisor starts."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # a thread may end while it is looked at
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return [child for child in found if not _forks_for_tests(child)]


def _forks_for_tests(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"preloaded\0")
    return False


@dataclass
class AgentFarm:
    """`reaping`: reap as beat would, from a thread. `popen` starts the processes."""

    settings: Settings
    folder: Path
    reaping: bool = True
    popen: type[preloaded.Popen] = preloaded.Popen
    ledger: Ledger = field(init=False)
    store: Store = field(init=False)
    permits: Permits = field(init=False)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(connect(self.settings.redis), self.settings)
        self.store = Store(self.settings.s3)
        self.permits = Permits(self.settings)
        self.house = Housekeeping(self.settings, self.ledger, self.store, self.permits)
        (self.folder / "farm.toml").write_text(settings_file.render(self.settings))
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        if self.reaping:
            self._reaper.start()

    def _reap(self) -> None:
        while not self._over.wait(0.3):
            try:
                self.house.reap()
            except Unavailable:
                continue

    # --- processes

    def start(self, command: list[str], name: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = self.popen(
                command,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "WANFARM_CONFIG": str(self.folder / "farm.toml"), **environment},
                process_group=0,
            )
        self._processes.append(process)
        return process

    def agent(self, slot: str = "cpu-0", *, ready: bool = True, **environment: str) -> "AgentProcess":
        command = list(agent_command(self.settings, Slot(slot)))
        agent = AgentProcess(self, slot, self.start(command, slot, WANFARM_WORKER__SLOT=slot, **environment))
        if ready:
            agent.wait_state("idle")
        return agent

    def supervisor(self, **environment: str) -> subprocess.Popen[bytes]:
        code = (
            "import logging, sys; from farm.agent import supervisor; from farm.config import load;"
            "logging.basicConfig(level=20); sys.exit(supervisor.main(load()))"
        )
        return self.start([sys.executable, "-c", code], "supervisor", **environment)

    def close(self) -> None:
        self._over.set()
        self.end_processes()
        if self.reaping:
            self._reaper.join()

    def end_processes(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                # a killed supervisor's agents hand back first; here nobody waits for that
                for child in children(process.pid):
                    _kill(child)
                process.kill()
            process.wait()
        self._processes.clear()

    # --- jobs

    def submit(self, prompt: str, *, inputs: Mapping[str, InputRef] | None = None, **values: Any) -> str:
        """Admit one job as the gateway does; returns its id."""
        return self.submit_many([prompt], inputs=inputs, **values)[0]

    def submit_many(self, prompts: list[str], inputs: Mapping[str, InputRef] | None = None, **values: Any) -> list[str]:
        jobs, loras = [], values.pop("loras", ())
        for prompt in prompts:
            spec = JobSpec("actions", "t2v", prompt, "", 64, 64, 5, 8, 4, 4.0, None, 5.0, 7, inputs or {}, loras)
            given = {"pool": "default", "lane": "actions", "predicted_s": 1.0, "wall_s": 60.0} | values
            jobs.append(NewJob(new_job_id(), TENANT, spec, **given))
        admitted, permits = self.ledger.admit(jobs)
        self.permits.publish(permits)
        return [one.id for one in admitted]

    def job(self, job_id: str) -> Job:
        job = self.ledger.find(job_id)
        assert job is not None
        return job

    def wait_state(self, job_id: str, *states: State, phase: str | None = None) -> Job:
        def there() -> bool:
            job = self.job(job_id)
            return job.state in states and phase in (None, job.phase)

        wait_until(there, what=f"{job_id} to be {states} {phase or ''} in {self.folder}")
        return self.job(job_id)

    def wait_over(self, job_id: str) -> Job:
        return self.wait_state(job_id, *TERMINAL)

    def worker(self, slot: str) -> dict[str, Any] | None:
        """What the worker of that slot tells, as JSON; what is not so is left out."""
        for one in self.ledger.workers():
            if one.status.slot == slot:
                told = json.loads(json.dumps({"worker": one.worker, "pool": one.pool, **one.status.to_json()}))
                return {name: value for name, value in told.items() if name != "leaves" or value}
        return None

    def logged(self, name: str, words: str) -> bool:
        return words in (self.folder / f"{name}.log").read_text()

    def objects(self, job_id: str) -> list[str]:
        return [one.key for one in self.store.list(f"results/{TENANT}/{job_id}/")]

    def committed(self, job_id: str) -> Job:
        """The job, once it has succeeded with one result that can be read, and no object beside it."""
        job = self.wait_over(job_id)
        assert (job.state, job.error_code) == (State.SUCCEEDED, None), job
        assert job.artifacts
        assert len(self.store.get_bytes(job.artifacts.video, 1000)) == job.artifacts.size
        prefix = job.artifacts.video.removesuffix("video.mp4")
        assert prefix.startswith(f"results/{TENANT}/{job_id}/{job.attempt}-")
        kept = self.objects(job_id)
        assert kept == [f"{prefix}{name}" for name in ("poster.jpg", "recipe.json", "video.mp4")], (job, kept)
        return job


@dataclass
class AgentProcess:
    farm: AgentFarm
    slot: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def facts(self) -> dict[str, Any]:
        """What this very process (not one before it) tells of itself; empty when it has told nothing yet."""
        facts = self.farm.worker(self.slot)
        return facts if facts and facts["pid"] == self.pid else {}

    def wait_state(self, state: str) -> None:
        wait_until(lambda: self.facts().get("state") == state, what=f"agent {self.slot} to be {state}")

    @property
    def engine(self) -> int:
        """pid of its engine, the only child; one that is being replaced is waited for."""
        alive: list[int] = []

        def one() -> bool:
            alive[:] = [child for child in children(self.pid) if not gone(child)]
            return len(alive) == 1

        wait_until(one, what=f"agent {self.slot} to have one engine")
        return alive[0]


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def changed(settings: Settings, folder: Path, **sections: dict[str, object]) -> Settings:
    """Settings with some values of some sections replaced, and a state folder below `folder`."""
    updates = {name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    return settings.model_copy(update={"state_dir": folder / "state", **updates})


@contextmanager
def farm_on(
    settings: Settings, folder: Path, *, reaping: bool = True, popen: type[preloaded.Popen] = preloaded.Popen
) -> Iterator[AgentFarm]:
    farm = AgentFarm(settings, folder, reaping, popen)
    try:
        yield farm
    finally:
        farm.close()
