"""Celery as the farm uses it: it wakes processes and carries nothing but permits. Every setting here was chosen by
measurement; the comment beside it says what it protects from. The ledger is the queue: a message may be lost or
doubled."""

import logging
from typing import Any

from celery import Celery
from celery.signals import setup_logging

from farm.claiming.broker import broker_options, broker_tls, broker_url
from farm.config import Settings, load
from farm.tracing import begin_logs

#: the task that a permit wakes, in agents and in the io worker
PERMIT_TASK = "farm.permit"
#: the queue of what beat sends
BEAT_QUEUE = "beat"


def pool_queue(pool: str) -> str:
    """The queue on which the permits of a pool travel."""
    return f"pool.{pool}"


def make_app(settings: Settings, name: str, *, patience_s: float | None = None) -> Celery:
    """An app on the broker of `settings`, without result backend. `name` is the app's, not the worker's.

    `patience_s`: for one that only publishes. A silent broker is given up after so long, an absent one at once.
    """
    app = Celery(name, broker=broker_url(settings.redis), set_as_current=False)
    app.conf.update(
        broker_transport_options=_transport(settings, patience_s),
        broker_use_ssl=broker_tls(settings.redis),
        # a Redis failover is a channel error; without this every worker process exits
        broker_channel_error_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=settings.redis.connect_timeout_s,
        # a publisher per gateway thread, so that none waits for another's timeout
        broker_pool_limit=settings.gateway.threads + settings.worker.io_threads,
        # one message at a time and none held back: a busy worker hides no permit, also not after a reconnect
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # a job that kills its worker would come back at once, for ever; the ledger counts and decides
        task_reject_on_worker_lost=False,
        # a connection loss must not throw away minutes of rendering (True is the default to come)
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # results would only leak: the ledger has them
        result_backend=None,
        # or beat would send a daily clean-up of results to a queue that no worker consumes
        result_expires=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        # pickle is code execution
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        task_publish_retry=False,
        # the farm sends no commands and reads no events; both are N x N chatter
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def _transport(settings: Settings, patience_s: float | None) -> dict[str, Any]:
    redis = settings.redis
    options: dict[str, Any] = {
        # acknowledgements stay in the worker. Written to Redis, one that fails (Redis was away when a task ended) is a
        # message held for ever, and the worker, allowed one, never asks for another. Nothing has to be delivered again:
        # a lost permit is replaced, what beat sent comes again
        "ack_emulation": False,
        # without these a half-open connection leaves a worker deaf and a publisher hanging for ever
        "socket_timeout": redis.socket_timeout_s,
        "socket_connect_timeout": redis.connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 5,
        # several farms can share a database
        "global_keyprefix": f"{redis.prefix}:celery:",
        **broker_options(redis),
    }
    if patience_s is not None:
        for name in ("socket_timeout", "socket_connect_timeout"):
            options[name] = min(options[name], patience_s)
        # `retry=False` is not enough: opening the connection has retries of its own
        options["max_retries"] = 0
    return options


@setup_logging.connect
def _own_logging(loglevel: int | str | None = None, **_: Any) -> None:
    """Celery leaves logging alone when somebody answers this signal."""
    begin_logs(json_lines=load().logs.json_lines, level=loglevel or logging.INFO)
