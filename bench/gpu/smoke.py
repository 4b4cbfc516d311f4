"""`python -m bench.gpu.smoke`: the whole farm with its real worker on this machine's GPU (tiny weights), through its
bad days: discovery, pinning, a cancel inside a step, full memory, a poisoned context, a killed engine, two jobs that
overlap.

Each check says "ok" or "FAILED" in a sentence; the whole is written to --out. Without a GPU it runs on the CPU.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tomli_w

from farm.client import Client
from farm.config import Settings
from farm.embedded.folder import StateFolder
from farm.engine.slots import find_slots

ROOT = Path(__file__).parents[2]
MODEL = "wan2.2-t2v-a14b-tiny"
SHOT: dict[str, Any] = {"model": MODEL, "width": 64, "height": 64, "frames": 5, "fps": 8, "steps": 4, "seed": 7}
_PATIENCE_S = float(os.environ.get("SMOKE_PATIENCE_S", "45"))


class Wrong(Exception):
    """A check did not come out as it should."""


class CardMemory:
    """Bytes in use on the first GPU, as NVML sees them; 0 without one."""

    def __init__(self) -> None:
        self._gpu: Any = None
        with suppress(Exception):
            import pynvml

            pynvml.nvmlInit()
            self._nvml, self._gpu = pynvml, pynvml.nvmlDeviceGetHandleByIndex(0)

    def used(self) -> int:
        return int(self._nvml.nvmlDeviceGetMemoryInfo(self._gpu).used) if self._gpu is not None else 0


class Farm:
    def __init__(self, state: Path) -> None:
        notes = StateFolder(state).client()
        if notes is None or notes.key is None:
            raise Wrong("the farm left no notes for clients")
        self.state, self.settings = state, Settings(**tomllib.loads((state / "farm.toml").read_text()))
        self.client = Client(notes.url, notes.key)
        self.operator = Client(notes.url, notes.admin_key or notes.key)

    def submit(self, prompt: str, **more: Any) -> str:
        return self.client.jobs.create(prompt, **{**SHOT, **more}).id

    def over(self, job: str) -> Any:
        return self.client.jobs.wait(job, timeout_s=_PATIENCE_S)

    def good(self, prompt: str, **more: Any) -> Any:
        job = self.over(self.submit(prompt, **more))
        need(job.state == "succeeded", f"a plain job is {job.state}: {job.error}")
        return job

    def until(self, what: str, look: Callable[[], Any]) -> Any:
        end = time.monotonic() + _PATIENCE_S
        while not (found := look()):
            if time.monotonic() > end:
                raise Wrong(f"waited {_PATIENCE_S:.0f} s for {what}")
            time.sleep(0.05)
        return found

    def denoising(self, job: str) -> Any:
        return self.until(
            "denoising", lambda: (view := self.client.jobs.get(job)).phase == "denoising" and view.progress > 0 and view
        )

    def engine(self) -> int | None:
        """Pid of the living engine."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
                if b"bench.gpu.trouble" in words and str(self.state).encode() in b" ".join(words):
                    return int(entry.name)
        return None

    def recipe(self, job: str, folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.client.jobs.download(job, folder).recipe.read_text())
        return found


def need(condition: object, why: str) -> None:
    if not condition:
        raise Wrong(why)


def main(arguments: list[str] | None = None) -> int:
    asked = _asked(arguments)
    told: list[dict[str, Any]] = []
    memory = CardMemory()
    begun, before = time.perf_counter(), memory.used()
    gpu = memory.used() > 0 and asked.devices != "cpu"

    def check(name: str, work: Callable[[], str]) -> None:
        at = time.perf_counter()
        try:
            line = {"check": name, "state": "ok", "told": work()}
        except Exception as error:
            line = {"check": name, "state": "FAILED", "told": f"{type(error).__name__}: {error}"[:1500]}
        line["s"] = str(round(time.perf_counter() - at, 1))
        told.append(line)
        print(f"[{time.perf_counter() - begun:5.1f} s] {line['state']:6} {name}: {line['told']}", flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(told, indent=1))

    slots = find_slots(asked.devices)
    check("discovery", lambda: _discovery(slots, gpu))
    try:
        with _up(asked) as farm:
            _checks(farm, check, memory, before, asked)
    except Exception as error:
        told.append({"check": "the farm", "state": "FAILED", "told": f"{type(error).__name__}: {error}"[-6000:]})
        print(told[-1]["told"], flush=True)
    check("memory is given back at the end", lambda: _given_back(memory, before))
    if asked.defaults:
        check("the defaults: compiled, with the device's own attention", lambda: _defaults(asked))
    if asked.out:
        asked.out.write_text(json.dumps(told, indent=1))
    failed = [line["check"] for line in told if line["state"] != "ok"]
    print(
        f"{len(told) - len(failed)} of {len(told)} checks are ok" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return bool(failed)


def _checks(
    farm: Farm, check: Callable[[str, Callable[[], str]], None], memory: CardMemory, before: int, asked: Any
) -> None:
    folder = farm.state.parent / "files"
    check(
        "a first job",
        lambda: f"{_seconds(farm.good('a red fox'))} s; the context holds {(memory.used() - before) / 1e9:.2f} GB",
    )
    gpu = memory.used() > 0 and asked.devices != "cpu"
    check("pinning", lambda: _pinning(farm, gpu))
    check("a cancel inside a step", lambda: _cancel(farm))
    check("the next job is right", lambda: _same(farm, folder))
    check("memory is full: the next smaller plan", lambda: _full(farm, folder))
    check("a CUDA assert in the engine", lambda: _assert(farm, gpu))
    check("an engine killed in mid-step", lambda: _killed(farm, memory))
    check("the next job is right again", lambda: _same(farm, folder))
    check("two jobs overlap", lambda: _overlap(farm))
    check("idle between queued jobs", lambda: _row_of(farm))


def _discovery(slots: Any, gpu: bool) -> str:
    need(not gpu or slots[0].visible, f"NVML shows no GPU: {slots}")
    return ", ".join(f"{slot} is {slot.title}" for slot in slots)


def _pinning(farm: Farm, gpu: bool) -> str:
    pid = farm.engine()
    need(pid, "no engine process was found")
    environment = dict(
        line.split(b"=", 1) for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in line
    )
    visible = environment.get(b"CUDA_VISIBLE_DEVICES", b"").decode()
    worker = farm.operator.workers()[0]
    need(not gpu or visible.startswith("GPU-"), f"CUDA_VISIBLE_DEVICES is {visible!r}")
    return f"the engine sees {visible!r}; the worker says {worker.device}"


def _cancel(farm: Farm) -> str:
    pid, job = farm.engine(), farm.submit("slow 400", steps=20)
    farm.denoising(job)
    at = time.perf_counter()
    farm.client.jobs.cancel(job)
    view = farm.over(job)
    took_s = time.perf_counter() - at
    need(view.state == "cancelled", f"it is {view.state}")
    need(farm.engine() == pid, "the engine was replaced: it should have stayed warm")
    return f"a step takes 3.2 s; it was over {took_s:.2f} s after it was asked, and the engine stayed"


def _same(farm: Farm, folder: Path) -> str:
    first, second = (farm.recipe(farm.good("a red fox").id, folder)["frames_sha256"] for _ in range(2))
    need(first == second, f"the same seed gave {first[:12]} and {second[:12]}")
    return f"the same seed twice gave the same frames, {first[:12]}"


def _full(farm: Farm, folder: Path) -> str:
    job = farm.good("full")
    plan, tried = farm.recipe(job.id, folder)["plan"], (farm.state / "models" / "full").read_text().split("\n")
    need(plan != "resident", f"it was made with {plan}")
    return f"tried {', '.join(filter(None, tried))}; made with {plan}, in {_seconds(job)} s"


def _assert(farm: Farm, gpu: bool) -> str:
    pid = farm.engine()
    view = farm.over(farm.submit("assert", max_attempts=1))
    need(view.state == "failed" and view.error, f"it is {view.state}")
    at = time.perf_counter()
    farm.good("a red fox")
    after_s = time.perf_counter() - at
    need(farm.engine() != pid, "the poisoned engine still lives")
    need(view.error.code == "device_fault", f"{view.error.code}: {view.error.message}")
    return f"{view.error.code}: {view.error.message}; a new engine had made the next job {after_s:.1f} s later"


def _killed(farm: Farm, memory: CardMemory) -> str:
    job = farm.submit("slow 400", steps=6)
    farm.denoising(job)
    pid, held = farm.engine(), memory.used()
    os.kill(pid or 0, signal.SIGKILL)
    farm.until("another engine", lambda: farm.engine() not in (None, pid))
    least = memory.used()
    view = farm.over(job)
    need(view.state == "succeeded", f"it is {view.state}: {view.error}")
    need(view.attempt == 2, f"it took {view.attempt} attempts")
    return f"{held / 1e9:.2f} GB before, {least / 1e9:.2f} GB when it was gone; the second attempt made the clip"


def _overlap(farm: Farm) -> str:
    one, two = farm.submit("slow 60", steps=8), farm.submit("slow 60", steps=8, seed=8)
    both = farm.until(
        "both in work", lambda: [v for v in map(farm.client.jobs.get, (one, two)) if v.state == "running"][1:]
    )
    first, second = farm.over(one), farm.over(two)
    need(first.state == second.state == "succeeded", f"{first.state}, {second.state}")
    apart_s = (second.finished_at - first.finished_at).total_seconds()
    return f"the second was {both[0].phase} while the first was drawn; ended {apart_s:.2f} s apart"


def _row_of(farm: Farm) -> str:
    """Six jobs in a row: what each adds beside its denoising."""
    jobs = [farm.submit("slow 50", steps=10, seed=seed) for seed in range(6)]
    views = [farm.over(job) for job in jobs]
    ends = [view.finished_at.timestamp() for view in views]
    need(all(view.state == "succeeded" for view in views), str([view.state for view in views]))
    each_s = (max(ends) - min(ends)) / (len(ends) - 1)
    return f"{len(jobs)} jobs whose device time is about 2 x 2 x 10 x 50 ms = 2 s: one every {each_s:.3f} s"


def _given_back(memory: CardMemory, before: int) -> str:
    end = time.monotonic() + 10
    while memory.used() > before + 64e6 and time.monotonic() < end:
        time.sleep(0.2)
    after = memory.used()
    need(after <= before + 64e6, f"{before / 1e9:.2f} GB before, {after / 1e9:.2f} GB after")
    return f"{before / 1e9:.2f} GB before, {after / 1e9:.2f} GB after"


def _defaults(asked: argparse.Namespace) -> str:
    """Another farm, as it comes: a tiny head is narrower than what fast attention takes."""
    asked.compile, asked.attention, logs = "auto", "auto", asked.logs
    asked.logs = logs and logs.with_name(f"defaults-{logs.name}")
    with _up(asked) as farm:
        job = farm.good("a red fox")
        recipe = farm.recipe(job.id, farm.state.parent / "files")
        return f"{_seconds(job)} s; {recipe['speed']}"


def _seconds(job: Any) -> float:
    return round((job.finished_at - job.started_at).total_seconds(), 2)


@contextmanager
def _up(asked: argparse.Namespace) -> Iterator[Farm]:
    with tempfile.TemporaryDirectory(prefix="wanfarm-smoke-") as folder:
        state, config = Path(folder) / "state", Path(folder) / "smoke.toml"
        config.write_text(
            tomli_w.dumps({
                "worker": {
                    **{"devices": asked.devices, "engine": "bench.gpu.trouble", "models": [MODEL]},
                },
                "speed": {"compile": asked.compile, "attention": asked.attention},
            })
        )  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WANFARM_")}
        environment["PYTHONPATH"] = f"{ROOT}:{environment.get('PYTHONPATH', '')}"
        command = [sys.executable, "-m", "farm.cli", "up", "--config", str(config), "--state-dir", str(state)]
        with (Path(folder) / "up.log").open("wb") as log:
            up = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            notes = StateFolder(state)
            end = time.monotonic() + 2 * _PATIENCE_S
            while not (notes.running() or {}).get("up"):
                if up.poll() is not None or time.monotonic() > end:
                    raise Wrong(f"the farm did not come up:\n{(Path(folder) / 'up.log').read_text()[-4000:]}")
                time.sleep(0.1)
            yield Farm(state)
        finally:
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(20)
            except subprocess.TimeoutExpired:
                up.kill()
                up.wait()
            if asked.logs:
                with asked.logs.open("w") as out:
                    for file in (Path(folder) / "up.log", *sorted((state / "logs").glob("*"))):
                        out.write(f"\n===== {file.name}\n{file.read_text(errors='replace')[-60_000:]}")
                shutil.copy(config, asked.logs.with_name("smoke.toml"))


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu.smoke", description=__doc__)
    parser.add_argument("--devices", default="auto", help="as worker.devices")
    # tiny heads are narrower than what fast kernels take
    parser.add_argument("--attention", default="native")
    parser.add_argument("--compile", default="off", choices=("auto", "on", "off"))
    parser.add_argument("--defaults", action="store_true", help="and one job of a farm as it comes")
    parser.add_argument("--out", type=Path, default=None, help="write the checks here, after each")
    parser.add_argument("--logs", type=Path, default=None, help="write every part's log here in the end")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
