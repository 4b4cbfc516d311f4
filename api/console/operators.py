"""Pages for operators: the farm's workers, tenants, lanes, queue, and what was done to it.
None shows what a tenant wrote."""

from dataclasses import dataclass

from flask import Response, make_response, render_template, request, url_for

from api.auth import by, require
from api.console.account import place
from api.console.blueprint import back, console, to
from api.own.jobs import check_id
from api.own.resources import place_of
from api.services import services
from farm.jobs.errors import Conflict, InvalidRequest, NotFound
from farm.jobs.roles import Role
from farm.jobs.states import State, Tier
from farm.ledger import INTAKE_POOL, OperationOutcome, Permit, SwitchKind
from farm.ledger.farm_numbers import FarmNumbers, PoolNumbers, ShareNumbers, TenantNumbers
from farm.providers import Providers
from farm.providers.gate import Gate
from farm.scheduling.expected_wait import entitlements, expected_wait_s
from farm.scheduling.throughput import Speed
from farm.tenants.tenants import Tenant

_LINES = 100
#: workers on one page
_WORKERS = 200
_WHY_CHARS = 500


@dataclass(frozen=True)
class TenantRow:
    """share, entitled: of the GPU-seconds that all tenants used, and of the weights; both in [0, 1]."""

    tenant: Tenant
    numbers: TenantNumbers | None
    used_s: float
    share: float
    entitled: float
    stored: int
    paused: bool


@dataclass(frozen=True)
class LaneRow:
    """What was measured of a lane in a pool, and which workers have it loaded."""

    pool: str
    lane: str
    speed: Speed
    loaded_on: tuple[str, ...]
    paused: bool


@dataclass(frozen=True)
class PoolRow:
    """A pool's queue, and who stands in it. wait_s: until all that is queued has been started; None: nobody works."""

    numbers: PoolNumbers
    oldest_s: float | None
    wait_s: float | None
    shares: tuple[ShareNumbers, ...]


@console.get("/farm/workers")
def workers() -> Response:
    """Live workers, a page of them."""
    require(Role.OPERATOR)
    after = place_of(request.args.get("after") or None)
    found, more = services().ledger.some_workers(after=after, limit=_WORKERS)
    last = f"{found[-1].pool} {found[-1].worker}" if more and found else None
    return make_response(render_template("console/workers.html", workers=found, paused=_paused(), more=last))


@console.get("/farm/tenants")
def tenants() -> Response:
    """Share, spend and limits of every tenant."""
    require(Role.OPERATOR)
    here = services()
    rows = tenant_rows(
        list(here.tenants.list()), here.ledger.farm_numbers(), here.uploads.quota.stored_by_tenant(), _paused()
    )
    return make_response(render_template("console/tenants.html", rows=rows, states=State))


def tenant_rows(
    known: list[Tenant], farm: FarmNumbers, stored: dict[str, int], paused: set[tuple[str, str]]
) -> list[TenantRow]:
    """The busiest first. Shares are of what workers rendered; what intake took is no share."""
    used: dict[str, float] = {}
    for one in farm.shares:
        if one.pool != INTAKE_POOL:
            used[one.tenant] = used.get(one.tenant, 0.0) + one.used_s
    total = sum(used.values())
    parts = entitlements({tenant.id: tenant.weight for tenant in known})
    numbers = {one.tenant: one for one in farm.tenants}
    rows = [
        TenantRow(
            tenant,
            numbers.get(tenant.id),
            used.get(tenant.id, 0.0),
            used.get(tenant.id, 0.0) / total if total else 0.0,
            parts[tenant.id],
            stored.get(tenant.id, 0),
            (SwitchKind.TENANT, tenant.id) in paused,
        )
        for tenant in known
    ]
    return sorted(rows, key=lambda row: (-row.used_s, row.tenant.id))


@console.get("/farm/lanes")
def lanes() -> Response:
    """How fast each lane is, and where it is loaded."""
    require(Role.OPERATOR)
    ledger, paused = services().ledger, _paused()
    live = ledger.workers()
    pools = sorted({one.pool for one in ledger.farm_numbers().pools} - {INTAKE_POOL})
    rows = [
        LaneRow(
            pool,
            lane,
            speed,
            tuple(one.worker for one in live if one.pool == pool and one.status.lane == lane),
            bool({(SwitchKind.LANE, lane), (SwitchKind.LANE, lane.partition("@")[0])} & paused),
        )
        for pool in pools
        for lane, speed in sorted(ledger.speeds(pool).items())
    ]
    return make_response(render_template("console/lanes.html", rows=rows))


@console.get("/farm/queue")
def queue() -> Response:
    """What stands in each pool, and whose turn it is."""
    require(Role.OPERATOR)
    farm = services().ledger.farm_numbers()
    return make_response(render_template("console/queue.html", rows=pool_rows(farm), tiers=Tier, intake=INTAKE_POOL))


def pool_rows(farm: FarmNumbers) -> list[PoolRow]:
    """Pools by name, in each the tenants whose turn comes first."""
    rows = []
    for pool in sorted(farm.pools, key=lambda one: one.pool):
        waiting = [one for one in farm.shares if one.pool == pool.pool and (one.queued or one.open_s)]
        rows.append(
            PoolRow(
                pool,
                None if pool.oldest_ms is None else (farm.now_ms - pool.oldest_ms) / 1000,
                expected_wait_s(pool.queued_s, pool.open_s, pool.slots),
                tuple(sorted(waiting, key=lambda one: (min(one.ahead_s.values(), default=0.0), one.tenant))),
            )
        )
    return rows


@console.get("/farm/providers")
def providers() -> Response:
    """Whom jobs may be bought from, and how it stands with each."""
    require(Role.OPERATOR)
    here = services()
    known = Providers(here.settings).entries
    rows = [(known[one.name], one) for one in Gate(here.redis, here.settings, known).states()]
    return make_response(render_template("console/providers.html", rows=rows))


@console.get("/farm/log")
def audit_log() -> Response:
    """What operators did, newest first."""
    require(Role.OPERATOR)
    lines = services().ledger.operations(before=place("before"), limit=_LINES)
    more = lines[-1].id if len(lines) == _LINES else None
    return make_response(render_template("console/audit_log.html", lines=lines, more=more))


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
    if kind is SwitchKind.TENANT and services().tenants.get(target) is None:
        raise NotFound(f"no tenant {target!r}")
    if name == "pause":
        services().ledger.pause(kind, target, who=operator, why=why)
    else:
        _changed, wanted = services().ledger.resume(kind, target, who=operator, why=why)
        services().permits.publish(wanted)
    return back(url_for("console.queue"))


@console.post("/farm/workers/forgive")
def forgive() -> Response:
    """End a worker's quarantine. Raises Forbidden, NotFound."""
    require(Role.OPERATOR)
    worker = request.form.get("worker", "")
    if not services().ledger.is_live(worker):
        raise NotFound("no such worker")
    services().ledger.forgive(worker)
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


def _publish(outcome: OperationOutcome, wanted: list[Permit], job_id: str) -> None:
    if outcome is OperationOutcome.NOT_FOUND:
        raise NotFound(f"no job {job_id}")
    if outcome not in (OperationOutcome.DONE, OperationOutcome.UNCHANGED):
        raise Conflict(f"the job is {outcome}: it is left alone")
    services().permits.publish(wanted)


def _paused() -> set[tuple[str, str]]:
    return {(kind.value, name) for kind, name in services().ledger.paused()}


def _operator() -> str:
    """The operator, as the log names them. Raises Forbidden."""
    require(Role.OPERATOR)
    return by().who


def _why() -> str:
    why = request.form.get("why", "").strip()
    if not 1 <= len(why) <= _WHY_CHARS:
        raise InvalidRequest(f"say why, in 1 to {_WHY_CHARS} characters: the log keeps it", "why")
    return why
