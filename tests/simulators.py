"""Simulated providers for tests: a process of their own (tools.provider_simulator), whose account outlives it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import preloaded

KEY = "sim-key"
#: one for all: each makes a TLS context, which takes longer than a test
HTTP = httpx.Client(trust_env=False, verify=False, timeout=90)
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Simulated:
    """One provider; see `python -m tools.provider_simulator --help` for faults and settings."""

    dialect: str
    address: str

    def faults(self, *rules: dict[str, Any]) -> None:
        """These from now on, and no others."""
        self._post("faults", {"faults": rules})

    def settings(self, **changes: Any) -> None:
        self._post("settings", changes)

    def ledger(self) -> dict[str, Any]:
        """What it accepted and charged."""
        answer = HTTP.get(f"{self.address}/_sim/ledger")
        read: dict[str, Any] = answer.raise_for_status().json()
        return read

    def _post(self, what: str, body: dict[str, Any]) -> None:
        answer = HTTP.post(f"{self.address}/_sim/{what}", json=body)
        assert answer.status_code == 200, answer.text


@contextmanager
def simulated(folder: Path, *dialects: str, arguments: tuple[str, ...] = ()) -> Iterator[dict[str, Simulated]]:
    """A process with these providers; by dialect."""
    named = [word for dialect in dialects for word in ("--dialect", dialect)]
    command = [sys.executable, "-m", "tools.provider_simulator", "--folder", str(folder), "--key", KEY]
    with preloaded.Popen([*command, *named, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().split() for _ in dialects]
            yield {line[0]: Simulated(line[0], line[-1]) for line in lines}
        finally:
            process.kill()
