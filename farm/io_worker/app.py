"""The Celery app of the io worker and of beat: intake, and keeping the house.

celery -A farm.io_worker.app worker -P threads -c 8 -Q pool.intake,beat
celery -A farm.io_worker.app beat
"""

import logging
import os
import socket
import sys
from typing import Any

from celery import bootsteps
from celery.signals import beat_init

from farm.claiming.celery_app import BEAT_QUEUE, PERMIT_TASK, make_app
from farm.claiming.metrics_page import serve_metrics
from farm.claiming.permits import Permits
from farm.claiming.presence import Presence
from farm.config import Settings, load
from farm.io_worker.housekeeping import Housekeeping
from farm.io_worker.intake_worker import IntakeWorker
from farm.jobs.errors import Unavailable
from farm.ledger import Ledger, server
from farm.ledger.connection import connect
from farm.ledger.ledger import INTAKE_POOL
from farm.storage.store import Store
from farm.webhooks.postman import Postman

log = logging.getLogger(__name__)

#: what beat sent is worth doing for this long: long enough for clocks that disagree, short enough to leave no pile
DUTY_EXPIRES_S = 60.0

settings = load()
worker_name = f"{socket.gethostname()}/io-{os.getpid()}"
redis = connect(settings.redis)
ledger = Ledger(redis, settings)
store = Store(settings.s3)
permits = Permits(settings)
intake_worker = IntakeWorker(settings, ledger, store, permits, worker_name)
housekeeping = Housekeeping(settings, ledger, store, permits)
postman = Postman(settings, redis, ledger, store)
app = make_app(settings, "io")


def _schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    every_s = {
        "farm.reap": settings.scheduling.reap_every_s,
        "farm.audit": settings.scheduling.audit_every_s,
        "farm.forget": settings.scheduling.forget_every_s,
        "farm.webhooks": settings.webhooks.every_s,
    }
    return {
        name: {
            "task": name,
            "schedule": seconds,
            "options": {"queue": BEAT_QUEUE, "expires": max(DUTY_EXPIRES_S, seconds)},
        }
        for name, seconds in every_s.items()
    }


app.conf.update(
    beat_schedule=_schedule(settings),
    beat_schedule_filename=str(settings.state_dir / "beat" / "schedule"),
    # never asleep for longer than this, so that a farm that comes back is in order soon
    beat_max_loop_interval=5,
)


@app.task(name=PERMIT_TASK)
def permit(_pool: str, permit_id: str) -> None:
    """The Celery task behind a permit of the intake pool: take in the inputs of waiting jobs."""
    intake_worker.serve(permit_id)


@app.task(name="farm.reap")
def reap() -> None:
    """Beat's task: end leases that ran out."""
    housekeeping.reap()


@app.task(name="farm.audit")
def audit() -> None:
    """Beat's task: compare counters and indexes with the job records."""
    housekeeping.audit()


@app.task(name="farm.forget")
def forget() -> None:
    """Beat's task: remove old job records, and objects that no record names."""
    housekeeping.forget()
    housekeeping.sweep()


@app.task(name="farm.webhooks")
def webhooks() -> None:
    """Beat's task: send webhooks that are due."""
    postman.look()


@beat_init.connect
def _beat_starts(**_: Any) -> None:
    server.say(redis, settings.redis)


class BePresent(bootsteps.StartStopStep):  # type: ignore[misc]
    """The ledger wakes as many intake permits as there are places at live workers."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        self._metrics: str | None = None
        self._presence = Presence(
            ledger,
            worker_name,
            INTAKE_POOL,
            self._facts,
            lambda: intake_worker.places,
            # what came in while nobody was here
            told=intake_worker.claims.wake,
        )

    def start(self, _worker: Any) -> None:
        """Tell the ledger, every few seconds, that this io worker lives; serve its metrics."""
        server.say(redis, settings.redis)
        self._metrics = serve_metrics(settings.worker.metrics_host, settings.worker.io_metrics_port)
        self._presence.start()

    def stop(self, _worker: Any) -> None:
        """End intake and take this worker off the ledger's list."""
        intake_worker.close()
        try:
            self._presence.leave()
        except Unavailable:
            return

    terminate = stop

    def _facts(self) -> dict[str, Any]:
        return {
            "device": "io",
            "state": "idle",
            "pool": INTAKE_POOL,
            "metrics": self._metrics,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "torch_loaded": "torch" in sys.modules,
        }


app.steps["worker"].add(BePresent)
