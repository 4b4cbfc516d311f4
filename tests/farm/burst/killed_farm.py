"""A farm that buys, as processes that can be killed, and providers with faults, as a process that is not."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preloaded
import tomli_w
from burst_parts import CLIP, PICTURE

from farm.config import Settings
from farm.jobs.ids import new_job_id
from farm.jobs.job import NewJob
from farm.jobs.spec import JobSpec
from models.catalog import MODELS
from tests.simulators import KEY, Simulated

KEY_ENV = "LAW_TEST_KEY"
TENANTS = ("acme", "globex")
#: model, task, roles: what each of the providers sells something for
_WANTED = (
    ("wan2.2-t2v-a14b-4step", "t2v", ()),
    ("wan2.2-animate-14b", "replace", ("image", "video")),
    ("wan2.2-animate-14b", "animate", ("image", "video")),
    ("wan2.2-i2v-a14b", "i2v", ("image",)),
    ("wan2.2-t2v-a14b", "t2v", ()),
)
_ANIMATE = {"minimum_s": 5}
#: prices as the simulators charge them; wiro counts a little more than five seconds
_SOLD: dict[str, dict[str, Any]] = {
    "kie": {"wan/2-2-a14b-text-to-video-turbo": {"per_second": {"480p": 0.04}}},
    "apixo": {"wan-2-2-animate": {"per_second": {"480p": 0.04}, **_ANIMATE}},
    "crun": {"wan/2-2-animate-move": {"per_second": {"480p": 0.03}, **_ANIMATE}},
    "wiro": {"Wan-AI/Wan2.2-I2V-A14B": {"per_second": {"480p": 0.0125}}},
    # for nothing: it would get everything that it may replace
    "selfhosted": {"wan2.2-14b-fp8": {"per_second": {"480p": 0.0}, "replaces": {"wan2.2-t2v-a14b": "same_weights"}}},
}
_UNIT_USD = {"kie": 0.005, "apixo": 1.0, "crun": 0.005, "wiro": 1.0}


def new_jobs(count: int) -> list[NewJob]:
    """Each with a prompt of its own, by which a provider's books name it."""
    return [_job(n) for n in range(count)]


def _job(number: int) -> NewJob:
    model, task, roles = _WANTED[number % len(_WANTED)]
    own = MODELS[model].defaults
    spec = JobSpec(
        model, task, f"shot {number:04d}", "", 832, 480, 77 if roles == ("image", "video") else own.frames, 16.0,
        own.steps, own.guidance, own.guidance_2, own.shift, 7,
        inputs={role: CLIP if role == "video" else PICTURE for role in roles},
    )  # fmt: skip
    return NewJob(
        id=new_job_id(), tenant=TENANTS[number % len(TENANTS)], spec=spec, pool="gpu", lane=f"{model}@bf16",
        predicted_s=60.0, wall_s=1800.0,
    )  # fmt: skip


#: what a buyer has to stand. Not `twice`: a provider that charges twice for one order does so whoever asks
FAULTS: Sequence[dict[str, Any]] = (
    {"on": "create", "do": "drop", "chance": 0.06},
    {"on": "create", "do": "drop", "accept": False, "chance": 0.03},
    {"on": "create", "do": "http", "status": 502, "chance": 0.04},
    {"on": "create", "do": "text", "chance": 0.03},
    {"on": "create", "do": "half", "chance": 0.03},
    {"on": "create", "do": "hang", "seconds": 8, "chance": 0.02},
    {"on": "create", "do": "refuse", "kind": "busy", "retry_after": 1, "chance": 0.05},
    {"on": "create", "do": "refuse", "kind": "server", "accept": True, "chance": 0.03},
    {"on": "create", "do": "fail", "chance": 0.08},
    {"on": "create", "do": "word", "chance": 0.05},
    {"on": "create", "do": "late", "seconds": 2, "chance": 0.05},
    {"on": "create", "do": "forged", "chance": 0.05},
    {"on": "create", "do": "clip", "as": "broken", "chance": 0.03},
    {"on": "create", "do": "clip", "as": "oversized", "chance": 0.02},
    *({"on": "status", "do": do, "seconds": 1, "chance": 0.03} for do in ("drop", "http", "text", "half", "hang")),
    {"on": "status", "do": "refuse", "kind": "busy", "chance": 0.02},
    *({"on": "callback", "do": do, "seconds": 1, "chance": 0.1} for do in ("none", "late", "twice", "order")),
    {"on": "file", "do": "cut", "chance": 0.05},
    {"on": "file", "do": "missing", "chance": 0.03},
)


def written(
    settings: Settings, sellers: dict[str, Simulated], folder: Path, url: str, rate_per_s: float, **burst: Any
) -> Path:
    """The settings file of the farm's processes. `rate_per_s`: submissions to each provider."""
    providers = {
        name: {
            "dialect": name, "base_url": one.address, "keys": {"main": {"env": KEY_ENV}}, "models": _SOLD[name],
            "poll_first_s": 0.2, "poll_max_s": 0.5, "timeout_s": 5.0, "rate_per_s": rate_per_s, "rate_burst": 3,
            "concurrency": 200, **({"unit_usd": _UNIT_USD[name]} if name in _UNIT_USD else {}),
        }
        for name, one in sellers.items()
    }  # fmt: skip
    eager = {
        "external": "any", "after_s": 0.0, "least_depth": 1, "least_dwell_s": 0.0, "every_s": 0.2, "left_every_s": 0.5,
        "unknown_after_s": 6.0, "allow_networks": ["127.0.0.0/8"], "max_result_bytes": 2_000_000,
    }  # fmt: skip
    said = {
        "state_dir": str(folder / "state"),
        "redis": {"ledger_url": settings.redis.ledger_url, "broker_url": settings.redis.broker_url},
        "s3": settings.s3.model_dump(include={"endpoint", "access_key", "secret_key", "bucket"}),
        "gateway": {"public_url": url, "processes": 1},
        "lease": {"seconds": 3.0},
        "provider_health": {
            "away_s": 1.0,
            "no_credit_s": 1.0,
            "held_s": 1.0,
            "raise_every_s": 0.5,
            "probe_after_s": 1.0,
        },
        "burst": eager | burst,
        "providers": providers,
    }
    path = folder / "farm.toml"
    path.write_text(tomli_w.dumps(said))
    return path


@dataclass
class Killed:
    """The farm's processes by name; `kill` takes one down and starts it again."""

    config: Path
    door: socket.socket
    log: Path
    running: dict[str, subprocess.Popen[bytes]]
    kills: int = 0

    def start(self, name: str) -> None:
        command = {
            "gateway": [
                *(sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf"),
                *("--bind", f"fd://{self.door.fileno()}", "api.app:create_app()"),
            ]
        }.get(name, [sys.executable, "-m", "farm.cli", "--config", str(self.config), "burst"])
        with self.log.open("ab") as log:
            self.running[name] = preloaded.Popen(
                command, stdout=log, stderr=log, pass_fds=(self.door.fileno(),), start_new_session=True,
                env=os.environ | {"WANFARM_CONFIG": str(self.config), KEY_ENV: KEY},
            )  # fmt: skip

    def kill(self, name: str) -> None:
        """SIGKILL, to its children too, and a new one."""
        self._end(name)
        self.kills += 1
        self.start(name)

    def kill_some(self, dice: random.Random) -> None:
        """One of them, whatever it is about."""
        self.kill(dice.choice(sorted(self.running)))

    def stop(self) -> None:
        for name in tuple(self.running):
            self._end(name)

    def commands(self) -> list[bytes]:
        """The command lines of all its processes and of everything that they started."""
        groups, found = {one.pid for one in self.running.values()}, []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # some end meanwhile
                if os.getpgid(int(place.name)) in groups:
                    found.append((place / "cmdline").read_bytes())
        return found

    def _end(self, name: str) -> None:
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def killed_farm(config: Path, door: socket.socket, buyers: int = 2) -> Iterator[Killed]:
    """A gateway for callbacks, and processes that buy."""
    farm = Killed(config, door, config.parent / "farm.log", {})
    try:
        for name in ("gateway", *(f"burst-{n}" for n in range(buyers))):
            farm.start(name)
        yield farm
    finally:
        farm.stop()


def wait_for(true: Any, seconds: float, what: Any, every_s: float = 0.2) -> None:
    """`what()` says why it is not so, when it never is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(every_s)
