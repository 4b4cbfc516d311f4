"""The command line of each process that is no command of ours: gunicorn's and Celery's, with the farm's arguments."""

import sys
from collections.abc import Sequence
from pathlib import Path

#: beat says that it lives every few seconds (beat_max_loop_interval); silent for longer, it hangs, s
BEATS_S = 20.0
_QUIET_CELERY = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def gateway(*options: str) -> Sequence[str]:
    """The gateway's own configuration (api.gunicorn_conf), then `options` of gunicorn that are decided elsewhere."""
    return [
        *(sys.executable, "-m", "gunicorn", "--config", "python:api.gunicorn_conf"),
        *options,
        "api.app:create_app()",
    ]


def io_worker(threads: int) -> Sequence[str]:
    """Intake, webhooks, and what beat asks for."""
    return [
        *(sys.executable, "-m", "celery", "-A", "farm.io_worker.app", "worker", "-n", "io@%h"),
        *("-P", "threads", "-c", str(threads), "-Q", "pool.intake,beat", "-l", "INFO", *_QUIET_CELERY),
    ]


def beat(folder: Path) -> Sequence[str]:
    """The clock of the farm's duties; it keeps its schedule in `folder`."""
    return [
        *(sys.executable, "-m", "celery", "-A", "farm.io_worker.app", "beat", "-l", "WARNING"),
        # no pid file: one left by a killed beat would keep the next from starting
        *("--schedule", str(folder / "schedule"), "--pidfile", ""),
    ]
