"""A process that serves no request writes a sign of life to a file at intervals."""

import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)


def say_alive(folder: Path) -> None:
    """Note when this was, by the machine's monotonic clock, which every process of it shares."""
    draft = folder / "alive.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(repr(time.monotonic()))
        draft.replace(folder / "alive")
    except OSError as error:
        log.warning("cannot write this process's sign of life: %s", error)


def silent_s(folder: Path) -> float:
    """Seconds since the last sign of life; infinite when there was none."""
    try:
        return time.monotonic() - float((folder / "alive").read_text())
    except (OSError, ValueError):
        return float("inf")
