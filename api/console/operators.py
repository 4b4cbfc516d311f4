"""Pages for operators: tenants, lanes, queue, providers, and what was done to the farm.
None shows what a tenant wrote."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from flask import Response, make_response, render_template

from api.auth import require
from api.console.account import place
from api.console.blueprint import console, switched_off
from api.console.paging import paging
from api.console.spent_elsewhere import ProviderSpending, SpentElsewhere
from api.services import services
from farm.jobs.roles import Role
from farm.jobs.states import Tier
from farm.ledger import BURST_POOL, INTAKE_POOL, SwitchKind
from farm.ledger.farm_numbers import FarmNumbers, PoolNumbers, TenantNumbers
from farm.ledger.lane_numbers import LaneNumbers, LanesNow
from farm.ledger.share_numbers import AsideNumbers, ShareNumbers
from farm.providers import Providers
from farm.providers.entry import Entry
from farm.providers.gate import Gate, ProviderState
from farm.scheduling.expected_wait import entitlements, expected_wait_s
from farm.scheduling.throughput import Speed
from farm.tenants.tenants import Tenant

#: lines of a log; rows of a table; decisions about buying
_LINES, _ROWS, _DECISIONS = 100, 100, 50


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
    """A lane in a pool: what was done and what waits, what was measured, how many workers have it loaded."""

    pool: str
    lane: str
    numbers: LaneNumbers | None
    speed: Speed | None
    loaded: int
    paused: bool

    @property
    def busy(self) -> int:
        """Jobs that wait, run, or ended lately."""
        one = self.numbers
        return one.queued + one.running + one.done + one.failed if one else 0


@dataclass(frozen=True)
class ProviderRow:
    """A provider as it is configured, as it stands, and its money."""

    entry: Entry
    state: ProviderState
    spent: ProviderSpending


@dataclass(frozen=True)
class TurnRow:
    """A tenant in a pool's queue. aside: its jobs that wait while it does not get its turn, since an operator paused it
    or its running jobs are at a cap."""

    share: ShareNumbers
    aside: int
    paused: bool


@dataclass(frozen=True)
class PoolRow:
    """A pool's queue, and who stands in it. wait_s: until all that is queued has been started; None: nobody works, or
    an operator paused the pool. aside: jobs of tenants that do not get their turn."""

    numbers: PoolNumbers
    oldest_s: float | None
    wait_s: float | None
    aside: int
    turns: tuple[TurnRow, ...]


@console.get("/farm/tenants")
def tenants() -> Response:
    """Share, spend and limits of every tenant."""
    require(Role.OPERATOR)
    here = services()
    rows = tenant_rows(
        list(here.tenants.list()), here.ledger.farm_numbers(), here.uploads.quota.stored_by_tenant(), switched_off()
    )
    shown, pages = paging(rows, _ROWS)
    return make_response(render_template("console/tenants.html", rows=shown, pages=pages))


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
    """What each lane does in an hour, how long one of its jobs takes, what waits, and where it is loaded."""
    require(Role.OPERATOR)
    ledger, off = services().ledger, switched_off()
    now, live = ledger.lanes(), ledger.roll_call()
    pools = sorted(set(ledger.pools()) - {INTAKE_POOL})
    speeds = {(pool, lane): speed for pool in pools for lane, speed in ledger.speeds(pool).items()}
    loaded = Counter((one.pool, one.lane) for one in live)
    shown, pages = paging(lane_rows(now, speeds, loaded, off), _ROWS)
    return make_response(render_template("console/lanes.html", rows=shown, pages=pages, now=now))


def lane_rows(
    now: LanesNow,
    speeds: Mapping[tuple[str, str], Speed],
    loaded: Mapping[tuple[str, str | None], int],
    off: Collection[tuple[str, str]],
) -> list[LaneRow]:
    """Every lane that was measured, is loaded, or has jobs: the busiest first."""
    known = {(one.pool, one.lane): one for one in now.lanes if one.pool != INTAKE_POOL}
    names = known.keys() | speeds.keys() | {(pool, lane) for pool, lane in loaded if lane}
    rows = [
        LaneRow(
            pool,
            lane,
            known.get((pool, lane)),
            speeds.get((pool, lane)),
            loaded.get((pool, lane), 0),
            bool({(SwitchKind.LANE, lane), (SwitchKind.LANE, lane.partition("@")[0])} & set(off)),
        )
        for pool, lane in names
    ]
    return sorted(rows, key=lambda row: (-row.busy, row.pool, row.lane))


@console.get("/farm/queue")
def queue() -> Response:
    """What stands in each pool, and whose turn it is."""
    require(Role.OPERATOR)
    ledger = services().ledger
    rows = pool_rows(ledger.farm_numbers(), ledger.set_aside(), switched_off())
    pools = {"intake": INTAKE_POOL, "burst": BURST_POOL}
    return make_response(render_template("console/queue.html", rows=rows, tiers=Tier, **pools))


def pool_rows(farm: FarmNumbers, set_aside: Iterable[AsideNumbers], off: Collection[tuple[str, str]]) -> list[PoolRow]:
    """Pools by name, in each the tenants whose turn comes first, and after them those that do not get theirs."""
    kept: dict[str, dict[str, int]] = {}
    for one in set_aside:
        kept.setdefault(one.pool, {})[one.tenant] = one.queued
    rows = []
    for pool in sorted(farm.pools, key=lambda one: one.pool):
        aside = kept.get(pool.pool, {})
        here = {one.tenant: one for one in farm.shares if one.pool == pool.pool}
        here |= {name: ShareNumbers(pool=pool.pool, tenant=name, queued=0) for name in aside.keys() - here.keys()}
        turns = [
            TurnRow(one, aside.get(one.tenant, 0), (SwitchKind.TENANT, one.tenant) in off)
            for one in here.values()
            if one.queued or one.open_s or one.tenant in aside
        ]
        rows.append(
            PoolRow(
                pool,
                None if pool.oldest_ms is None else (farm.now_ms - pool.oldest_ms) / 1000,
                None if pool.paused else expected_wait_s(pool.queued_s, pool.open_s, pool.slots),
                sum(aside.values()),
                tuple(sorted(turns, key=_turn)),
            )
        )
    return rows


def _turn(row: TurnRow) -> tuple[bool, float, str]:
    return row.aside > 0, min(row.share.ahead_s.values(), default=0.0), row.share.tenant


@console.get("/farm/providers")
def providers() -> Response:
    """Whom jobs may be bought from, how it stands with each, and what was spent there."""
    require(Role.OPERATOR)
    here = services()
    known = Providers(here.settings).entries
    spending = SpentElsewhere.read(here.ledger, here.settings)
    rows = [
        ProviderRow(known[one.name], one, spending.of(one.name))
        for one in Gate(here.redis, here.settings, known).states()
    ]
    decisions = here.ledger.decisions(before=place("before"), limit=_DECISIONS)
    more = decisions[-1].id if len(decisions) == _DECISIONS else None
    page = render_template(
        "console/providers.html",
        rows=rows,
        spending=spending,
        # the oldest are the most urgent: their prices have been held for the longest
        left=spending.left[:_ROWS],
        decisions=decisions,
        more=more,
    )
    return make_response(page)


@console.get("/farm/log")
def audit_log() -> Response:
    """What operators did, newest first."""
    require(Role.OPERATOR)
    lines = services().ledger.operations(before=place("before"), limit=_LINES)
    more = lines[-1].id if len(lines) == _LINES else None
    return make_response(render_template("console/audit_log.html", lines=lines, more=more))
