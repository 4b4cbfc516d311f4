"""wiro's WebSocket: a task's life as it happens, for whoever has its token. A shell around farm.wire.wiro_socket."""

import json

from flask import Flask

from api.provider import report
from api.server.bridge import SocketView
from api.server.sockets import SocketClient, served
from api.services import services
from api.streams import stopping
from api.wiro import holds
from farm.jobs.errors import TooMany, Unavailable
from farm.jobs.job import Job
from farm.wire import task_ids, wiro, wiro_socket, wiro_task

#: wiro's own address has a host of its own; the second is for those who put everything behind one
PATHS = frozenset({"/v1", "/v1/socket"})
#: between two looks at a task when its owner's event stream is silent
_LOOK_MS = 1000


def sockets_of(app: Flask) -> SocketView:
    """The view of wiro's sockets, with the app's services."""

    def view(client: SocketClient, registration: str) -> None:
        """`follow`, which needs the app's services, in a thread that has none."""
        with app.app_context():
            follow(client, registration)

    return served(PATHS, view)


def follow(client: SocketClient, registration: str) -> None:
    """Registration first; then every status once and in order, step progress, and an end."""
    try:
        job = _registered(registration)
        if job is None:
            client.send(json.dumps(wiro.failure(1, wiro.NO_TASK)))
            return
        with services().streams.place(job.tenant):
            _tell(client, job)
    except (TooMany, Unavailable) as error:
        # "try again later"
        client.close(1013, str(error)[:120])


def _registered(text: str) -> Job | None:
    token = wiro_socket.parse_registration(text)
    parts = task_ids.split_token(token) if token is not None else None
    job = services().ledger.find(parts[0]) if parts is not None else None
    if parts is None or job is None or job.dialect != wiro.DIALECT or not holds(job, parts[1]):
        return None
    return job


def _tell(client: SocketClient, job: Job) -> None:
    ledger, last = services().ledger, ""
    said: str | None = None
    while True:
        seen = ledger.last_event_id(job.tenant)
        now = ledger.find(job.id)
        if now is None:
            return
        told = report(now)
        for frame in wiro_socket.frames(told, said):
            text = json.dumps(frame)
            # a look that found nothing new says nothing
            if text != last:
                client.send(text)
                last = text
        status = wiro_task.status_word(told)
        if status in wiro_task.OVER or stopping.is_set():
            return
        said = status if said is None or wiro_task.ORDER.index(status) > wiro_task.ORDER.index(said) else said
        if client.gone:
            return
        ledger.events(job.tenant, after=seen, job_id=job.id, block_ms=_LOOK_MS, count=100)
