"""A `wanfarm up` in a process of its own, as seen by the one who started it: the demo, and tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Self

from farm import lifeline
from farm.embedded.folder import ClientNotes, StateFolder
from farm.jobs.errors import FarmError

_POLL_S = 0.05
#: `up` counts signals; two that are sent at once arrive as one
_BETWEEN_SIGNALS_S = 0.2


class Launched:
    """Start it with `Launched.start`, use it as a context manager: leaving ends the farm, and nothing is left of it."""

    def __init__(self, folder: StateFolder, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.process = process

    @classmethod
    def start(
        cls,
        state_dir: Path,
        *,
        config: Path | None = None,
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | int | None = None,
    ) -> Self:
        """`environment` are WANFARM_ variables for it: it gets none of ours. `output` is where its words go."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WANFARM_")}
        command = [sys.executable, "-m", "farm.cli", "up", "--state-dir", str(state_dir)]
        if config is not None:
            command += ["--config", str(config)]
        process = subprocess.Popen(
            lifeline.bound(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**clean, "PYTHONSAFEPATH": "1", **(environment or {})},
            process_group=0,
        )
        return cls(StateFolder(state_dir), process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(hurry=True)

    def wait_up(
        self, timeout_s: float = 120.0, on_part: Callable[[str, str], None] = lambda _part, _phase: None
    ) -> ClientNotes:
        """Address and keys, once every part is ready. `on_part` hears each part's phase when it changes. FarmError
        when the farm ends instead or takes longer."""
        told: dict[str, str] = {}
        end = time.monotonic() + timeout_s
        while True:
            if (status := self.process.poll()) is not None:
                raise FarmError(f"the farm did not come up (exit status {status}); logs: {self.folder.logs}")
            running, notes = self.folder.running(), self.folder.client()
            phases = {name: part["phase"] for name, part in (running or {}).get("parts", {}).items()}
            for name, phase in phases.items():
                if told.get(name) != phase:
                    on_part(name, phase)
            told = phases
            if running and running["up"] and running["pid"] == self.process.pid and notes is not None:
                return notes
            if time.monotonic() > end:
                raise FarmError(f"the farm was not up after {timeout_s:g} s; logs: {self.folder.logs}")
            time.sleep(_POLL_S)

    def pids(self) -> dict[str, int]:
        """Part -> process, of those that run now."""
        parts = (self.folder.running() or {}).get("parts", {})
        return {name: part["pid"] for name, part in parts.items() if part["pid"] is not None}

    def stop(self, *, hurry: bool, timeout_s: float = 60.0) -> int:
        """End the farm: drain, or with `hurry` hand back what runs. The exit status; killed after timeout_s."""
        end = time.monotonic() + timeout_s
        for _ in range(2 if hurry else 1):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                time.sleep(_BETWEEN_SIGNALS_S)
        try:
            return self.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
