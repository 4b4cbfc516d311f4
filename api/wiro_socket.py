"""wiro's WebSocket: a task's life as it happens, for whoever has its token. A shell around farm.wire.wiro_socket."""

import json

from flask import Blueprint
from flask.sansio.blueprints import BlueprintSetupState
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server

from api.provider import report
from api.services import services
from api.streams import stopping
from api.wiro import holds
from farm.jobs.errors import Unavailable
from farm.jobs.job import Job
from farm.wire import task_ids, wiro, wiro_socket, wiro_task

blueprint = Blueprint("wiro_socket", __name__)
socket = Sock()

#: a client that has not registered by then is sent away
_REGISTER_S = 30.0
#: between two looks at a task when its owner's event stream is silent
_LOOK_MS = 1000


@blueprint.record_once
def _options(state: BlueprintSetupState) -> None:
    state.app.config.setdefault("SOCK_SERVER_OPTIONS", {"ping_interval": 25, "max_message_size": 65536})


def follow(client: Server) -> None:
    """Registration first; then every status once and in order, step progress, and an end."""
    try:
        with services().streams.place():
            job = _registered(client)
            if job is None:
                client.send(json.dumps(wiro.failure(1, wiro.NO_TASK)))
            else:
                _tell(client, job)
    except Unavailable as error:
        # "try again later"
        client.close(1013, str(error)[:120])
    except ConnectionClosed:
        return


def _registered(client: Server) -> Job | None:
    text = client.receive(timeout=_REGISTER_S)
    token = wiro_socket.parse_registration(text) if text is not None else None
    parts = task_ids.split_token(token) if token is not None else None
    job = services().ledger.find(parts[0]) if parts is not None else None
    if parts is None or job is None or job.dialect != wiro.DIALECT or not holds(job, parts[1]):
        return None
    return job


def _tell(client: Server, job: Job) -> None:
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
        # whoever left is noticed here; what they say after registering means nothing
        client.receive(timeout=0)
        ledger.events(job.tenant, after=seen, job_id=job.id, block_ms=_LOOK_MS, count=100)


# wiro's own address has a host of its own; the second is for those who put everything behind one
socket.route("/v1", bp=blueprint, endpoint="follow")(follow)
socket.route("/v1/socket", bp=blueprint, endpoint="follow_named")(follow)
