"""/v1/admin: the operator's hands. For keys with the role operator; every act is a line of a log that only grows."""

from collections.abc import Mapping
from typing import TypeVar

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from api import switches
from api.auth import by
from api.dialect import answer
from api.own.blueprint import own_api
from api.own.jobs import check_id
from api.own.operations import json_body, operation, query
from api.services import services
from farm.claiming.pool_names import pool_names, words
from farm.jobs.errors import Conflict, NotFound
from farm.jobs.roles import Role
from farm.jobs.states import Tier
from farm.ledger import OperationOutcome, Permit, SwitchKind
from farm.wire import own
from farm.wire.own_admin import (
    ActView,
    AskMove,
    AskPause,
    AskTier,
    AskWhy,
    DecisionList,
    DecisionView,
    OperationList,
    OperationView,
    PauseList,
)
from farm.wire.own_views import PauseView, ProblemView, moment
from farm.wire.report import Reply

_Asked = TypeVar("_Asked", AskTier, AskMove, AskWhy)

_REFUSED = {
    OperationOutcome.OVER: "the job is over: there is nothing to change any more",
    OperationOutcome.RUNNING: "the job is running, and this does not interrupt it; requeue it first",
    OperationOutcome.BOUGHT: "the job is bought from a provider; wait for its end, or settle its purchase",
    OperationOutcome.HELD: "the job is held, and `held_for` says why; resume or approve it first",
    OperationOutcome.NO_POOL: "there is no such pool; name one that has had a worker",
}


class LogQuery(BaseModel):
    """`cursor` is the `next_cursor` of the page before."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, pattern=r"^\d{1,20}-\d{1,20}$")
    limit: int = Field(50, ge=1, le=200)


def _who() -> str:
    """The operator, as the log names them."""
    return by().who


def _done(outcome: OperationOutcome, wanted: list[Permit], job_id: str) -> Response:
    if outcome is OperationOutcome.NOT_FOUND:
        raise NotFound(f"no job {job_id}")
    if outcome in _REFUSED:
        raise Conflict(_REFUSED[outcome])
    services().permits.publish(wanted)
    return answer(Reply(200, ActView(changed=outcome is OperationOutcome.DONE)))


@own_api.get("/v1/admin/pauses")
@operation("What operators paused", {200: PauseList, 403: ProblemView}, role=Role.OPERATOR)
def list_pauses() -> Response:
    """What is paused now, and since when."""
    found = services().ledger.paused()
    return answer(
        Reply(
            200,
            PauseList(
                data=[PauseView(kind=kind.value, name=name, since=moment(ms)) for (kind, name), ms in found.items()]
            ),
        )
    )


@own_api.post("/v1/admin/pause")
@operation(
    "Pause a tenant, lane, pool, worker or provider",
    {200: ActView, 403: ProblemView, 404: ProblemView, 422: ProblemView},
    body=AskPause,
    role=Role.OPERATOR,
)
def pause() -> Response:
    """Nothing of it starts any more; what runs goes on."""
    who, asked = _who(), own.parse(AskPause, json_body())
    changed = switches.pause(SwitchKind(asked.kind), asked.name, who=who, why=asked.why)
    return answer(Reply(200, ActView(changed=changed)))


@own_api.post("/v1/admin/resume")
@operation(
    "Resume a tenant, lane, pool, worker or provider",
    {200: ActView, 403: ProblemView, 422: ProblemView},
    body=AskPause,
    role=Role.OPERATOR,
)
def resume() -> Response:
    """The end of a pause."""
    who, asked = _who(), own.parse(AskPause, json_body())
    changed = switches.resume(SwitchKind(asked.kind), asked.name, who=who, why=asked.why)
    return answer(Reply(200, ActView(changed=changed)))


#: what an act on a job may answer
_OF_A_JOB: Mapping[int, type[BaseModel] | str] = {
    200: ActView,
    403: ProblemView,
    404: ProblemView,
    409: ProblemView,
    422: ProblemView,
}


def _about_job(job_id: str, kind: type[_Asked]) -> tuple[str, _Asked]:
    """Who asks, and what. Raises InvalidRequest, then NotFound for what is no job's id."""
    who, asked = _who(), own.parse(kind, json_body())
    check_id(job_id)
    return who, asked


@own_api.post("/v1/admin/jobs/<job_id>/tier")
@operation(
    "Make a job urgent, or normal",
    _OF_A_JOB,
    body=AskTier,
    role=Role.OPERATOR,
)
def set_tier(job_id: str) -> Response:
    """An urgent job goes before every other of its pool, whosever turn it is, and no cap keeps it back."""
    who, asked = _about_job(job_id, AskTier)
    return _done(*services().ledger.set_tier(job_id, Tier(asked.tier), who=who, why=asked.why), job_id)


@own_api.post("/v1/admin/jobs/<job_id>/requeue")
@operation(
    "Queue a job again now",
    _OF_A_JOB,
    body=AskWhy,
    role=Role.OPERATOR,
)
def requeue(job_id: str) -> Response:
    """Taken back from its worker, uncounted, or out of its backoff."""
    who, asked = _about_job(job_id, AskWhy)
    return _done(*services().ledger.requeue(job_id, who=who, why=asked.why), job_id)


@own_api.post("/v1/admin/jobs/<job_id>/move")
@operation(
    "Move a job to another pool",
    _OF_A_JOB,
    body=AskMove,
    role=Role.OPERATOR,
)
def move(job_id: str) -> Response:
    """Move a job that nobody renders to another pool."""
    who, asked = _about_job(job_id, AskMove)
    here = services()
    if asked.pool not in (there := pool_names(here.settings, here.ledger)):
        raise Conflict(f"there is no pool {asked.pool!r}; {words(there)}")
    return _done(*services().ledger.move(job_id, asked.pool, who=who, why=asked.why), job_id)


@own_api.post("/v1/admin/jobs/<job_id>/fail")
@operation(
    "End a job as failed",
    _OF_A_JOB,
    body=AskWhy,
    role=Role.OPERATOR,
)
def end_failed(job_id: str) -> Response:
    """Unbilled, whatever it does now. `why` is in the message that its owner reads."""
    who, asked = _about_job(job_id, AskWhy)
    return _done(*services().ledger.end_failed(job_id, who=who, why=asked.why), job_id)


@own_api.get("/v1/admin/operations")
@operation(
    "What operators did, newest first", {200: OperationList, 403: ProblemView}, query=LogQuery, role=Role.OPERATOR
)
def list_operations() -> Response:
    """Who, when, why, before and after; the log only grows."""
    asked = query(LogQuery)
    found = services().ledger.operations(before=asked.cursor, limit=asked.limit + 1)
    data = [
        OperationView(
            id=one.id,
            at=moment(one.at_ms),
            **{name: getattr(one, name) for name in ("who", "why", "act", "target", "before", "after")},
        )
        for one in found[: asked.limit]
    ]
    return answer(Reply(200, OperationList(data=data, next_cursor=data[-1].id if len(found) > asked.limit else None)))


@own_api.get("/v1/admin/decisions")
@operation(
    "What was decided about buying jobs, newest first",
    {200: DecisionList, 403: ProblemView},
    query=LogQuery,
    role=Role.OPERATOR,
)
def list_decisions() -> Response:
    """Why a job was bought, or was not: each thing that is decided of a job stands here once, with its numbers."""
    asked = query(LogQuery)
    found = services().ledger.decisions(before=asked.cursor, limit=asked.limit + 1)
    data = [
        DecisionView.model_validate(
            {**one.told, "id": one.id, "at": moment(one.at_ms), "job": one.job, "tenant": one.tenant}
        )
        for one in found[: asked.limit]
    ]
    return answer(Reply(200, DecisionList(data=data, next_cursor=data[-1].id if len(found) > asked.limit else None)))
