"""What operators do to the farm: pause and resume, end a quarantine, requeue a job, settle a purchase.
Each act is in the audit log."""

from flask import Response, request, url_for

from api import settling, switches
from api.auth import by, require
from api.console.blueprint import back, console, to
from api.own.jobs import check_id
from api.services import services
from farm.jobs.errors import Conflict, InvalidRequest, NotFound
from farm.jobs.money import MICRO
from farm.jobs.roles import Role
from farm.jobs.states import Tier
from farm.ledger import OperationOutcome, Permit, SwitchKind
from farm.ledger.operations import Actor
from farm.wire.own_spend import MOST_ID_CHARS, MOST_USD

_WHY_CHARS = 500


@console.post("/farm/<any(pause, resume):name>")
def switch(name: str) -> Response:
    """Pause or resume a tenant, lane or pool. Raises Forbidden, InvalidRequest."""
    operator, why = _operator(), _why()
    try:
        kind = SwitchKind(request.form.get("kind", ""))
    except ValueError:
        raise InvalidRequest("tenant, lane or pool", "kind") from None
    target = request.form.get("name", "")
    if not target or len(target) > 200 or " " in target:
        raise InvalidRequest("the name of one", "name")
    (switches.pause if name == "pause" else switches.resume)(kind, target, who=operator, why=why)
    return back(url_for("console.queue"))


@console.post("/farm/workers/forgive")
def forgive() -> Response:
    """End a worker's quarantine. Raises Forbidden, InvalidRequest, NotFound."""
    operator, why = _operator(), _why()
    worker = request.form.get("worker", "")
    if not services().ledger.is_live(worker):
        raise NotFound("no such worker")
    services().ledger.forgive(worker, Actor(operator, why))
    return to(url_for("console.workers"))


@console.post("/farm/jobs/<any(requeue, urgent, normal):name>")
def act_on_job(name: str) -> Response:
    """Requeue any tenant's job, or change its tier, by its id. Raises Forbidden, NotFound, Conflict."""
    operator, why = _operator(), _why()
    job_id = request.form.get("job", "").strip()
    check_id(job_id)
    ledger = services().ledger
    if name == "requeue":
        outcome, wanted = ledger.requeue(job_id, who=operator, why=why)
    else:
        outcome, wanted = ledger.set_tier(job_id, Tier(name), who=operator, why=why)
    _publish(outcome, wanted, job_id)
    return to(url_for("console.audit_log"))


@console.post("/farm/purchases/<any(arrived, never_arrived, cost):told>")
def settle(told: str) -> Response:
    """What the provider's log says of a purchase: its id there, that it is not there, or the dollars that it came to.
    Raises Forbidden, InvalidRequest, NotFound, Conflict."""
    operator, why = _operator(), _why()
    nonce, said = request.form.get("purchase", ""), request.form.get("said", "").strip()
    if told == "arrived":
        if not 1 <= len(said) <= MOST_ID_CHARS:
            raise InvalidRequest(f"the id that it has there, in 1 to {MOST_ID_CHARS} characters", "said")
        settling.arrived(nonce, said, who=operator, why=why)
    else:
        settling.over(nonce, _micro_dollars(said) if told == "cost" else 0, who=operator, why=why)
    return to(url_for("console.providers"))


def _micro_dollars(text: str) -> int:
    try:
        usd = float(text)
    except ValueError:
        usd = -1.0
    if not 0 <= usd <= MOST_USD:
        raise InvalidRequest("dollars that it came to, such as 0.20", "said")
    return round(usd * MICRO)


def _publish(outcome: OperationOutcome, wanted: list[Permit], job_id: str) -> None:
    if outcome is OperationOutcome.NOT_FOUND:
        raise NotFound(f"no job {job_id}")
    if outcome not in (OperationOutcome.DONE, OperationOutcome.UNCHANGED):
        raise Conflict(f"the job is {outcome}: it is left alone")
    services().permits.publish(wanted)


def _operator() -> str:
    """The operator, as the log names them. Raises Forbidden."""
    require(Role.OPERATOR)
    return by().who


def _why() -> str:
    why = request.form.get("why", "").strip()
    if not 1 <= len(why) <= _WHY_CHARS:
        raise InvalidRequest(f"say why, in 1 to {_WHY_CHARS} characters: the log keeps it", "why")
    return why
