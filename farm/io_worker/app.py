"""The Celery app of the io worker and of beat: intake, webhooks and housekeeping.

celery -A farm.io_worker.app worker -P threads -c 8 -Q pool.intake,beat
celery -A farm.io_worker.app beat
"""

import logging
import os
import socket
import sys
import threading
from typing import Any

from celery import bootsteps
from celery.signals import beat_init

from farm import tracing
from farm.claiming.celery_app import BEAT_QUEUE, PERMIT_TASK, make_app
from farm.claiming.metrics_page import serve_metrics
from farm.claiming.permits import Permits
from farm.claiming.presence import Presence
from farm.config import load
from farm.io_worker.batch_keeper import keeper_of
from farm.io_worker.duties import Duties
from farm.io_worker.forecasting import Forecasting
from farm.io_worker.housekeeping import Housekeeping
from farm.io_worker.intake_worker import IntakeWorker
from farm.io_worker.standby import Standby
from farm.jobs.errors import Unavailable
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, server
from farm.ledger.connection import connect
from farm.ledger.ledger import INTAKE_POOL
from farm.storage.store import Store
from farm.webhooks.postman import Postman
from monitoring.roles import ProcessRole

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
forecasting = Forecasting(ledger)
housekeeping = Housekeeping(settings, ledger, store, permits)
keeper = keeper_of(settings, redis, ledger, store, permits)
postman = Postman(settings, redis, ledger, store)
app = make_app(settings, "io")
tracing.begin("io", settings.tracing.endpoint, settings.tracing.share)


#: by the names of their tasks, in seconds
EVERY_S = {
    "farm.reap": settings.scheduling.reap_every_s,
    "farm.audit": settings.scheduling.audit_every_s,
    "farm.forecast": settings.scheduling.forecast_every_s,
    "farm.forget": settings.scheduling.forget_every_s,
    "farm.sweep": settings.scheduling.forget_every_s,
    "farm.webhooks": settings.webhooks.every_s,
    "farm.batches": settings.batches.every_s,
}


def _schedule() -> dict[str, dict[str, Any]]:
    return {
        name: {
            "task": name,
            "schedule": seconds,
            "options": {"queue": BEAT_QUEUE, "expires": max(DUTY_EXPIRES_S, seconds)},
        }
        for name, seconds in EVERY_S.items()
    }


app.conf.update(
    beat_schedule=_schedule(),
    beat_scheduler="farm.io_worker.beat_schedule:BoundedScheduler",
    beat_schedule_filename=str(settings.state_dir / "beat" / "schedule"),
    # never asleep for longer than this, so that a farm that comes back is in order soon
    beat_max_loop_interval=5,
)


@app.task(name=PERMIT_TASK)
def permit(_pool: str, permit_id: str) -> None:
    """The Celery task behind a permit of the intake pool: take in the inputs of waiting jobs."""
    intake_worker.serve(permit_id)


#: by the names of their tasks
duties = Duties(
    {
        "farm.reap": housekeeping.reap,
        "farm.audit": housekeeping.audit,
        "farm.forecast": forecasting.refresh,
        "farm.forget": housekeeping.forget,
        "farm.sweep": housekeeping.sweep,
        "farm.webhooks": postman.look,
        "farm.batches": keeper.look,
    }
)


def _duty(name: str) -> None:
    @app.task(name=name)
    def begin() -> None:
        standby.asked(name)
        duties.begin(name)


standby = Standby(EVERY_S, duties.begin)

for _name in EVERY_S:
    _duty(_name)


@beat_init.connect
def _beat_starts(**_: Any) -> None:
    server.say(redis, settings.redis)


class BePresent(bootsteps.StartStopStep):  # type: ignore[misc]
    """The ledger wakes as many intake permits as there are places at live workers."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, _worker: Any, **_: Any) -> None:
        self._metrics: str | None = None
        self._stopped = threading.Event()
        self._presence = Presence(
            ledger,
            worker_name,
            INTAKE_POOL,
            self._status,
            lambda: intake_worker.places,
            lease_s=settings.lease.seconds,
            # jobs that came in while no io worker was up
            on_look=intake_worker.look,
        )

    def start(self, _worker: Any) -> None:
        """Tell the ledger, every few seconds, that this io worker lives; serve its metrics."""
        server.say(redis, settings.redis)
        self._metrics = serve_metrics(
            ProcessRole.IO_WORKER, settings.worker.metrics_host, settings.worker.io_metrics_port
        )
        standby.start(self._stopped)
        self._presence.start()

    def stop(self, _worker: Any) -> None:
        """End intake and take this worker off the ledger's list."""
        intake_worker.close()
        self._stopped.set()
        try:
            self._presence.leave()
        except Unavailable:
            return

    terminate = stop

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            device="io",
            metrics=self._metrics,
            pid=os.getpid(),
            host=socket.gethostname(),
            torch_loaded="torch" in sys.modules,
        )


app.steps["worker"].add(BePresent)
