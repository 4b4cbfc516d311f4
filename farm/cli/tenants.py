"""`wanfarm tenants`: who may use the farm, and for what share. Speaks to the farm's Redis, on the farm's machine; where
no tenant is named, about the one whose admin asks, over HTTP."""

from typing import TYPE_CHECKING, Any

import click

from farm.cli.by_hand import by_hand
from farm.cli.farm_redis import farm_tenants
from farm.cli.ledger_here import farm_here
from farm.cli.session import Session, here_or_asked, runs_here

if TYPE_CHECKING:
    from farm.tenants.tenants import Tenant
    from farm.wire.own_tenant import TenantView

#: the words of models.provenance.signing.SigningPolicy, which a command line does not load to print its help
_POLICIES = ("off", "on", "required")


#: the words of farm.providers.entry.Consent
_CONSENTS = ("never", "same", "family", "any")


def _limits(command: Any) -> Any:
    for name, kind, text in (
        ("--external-month-usd", float, "The same for a month (UTC). Default: burst.tenant_month_usd."),
        ("--external-day-usd", float, "Dollars that may be spent for it in a day. Default: burst.tenant_day_usd."),
        ("--external-after-s", float, "A job that would wait longer may be bought. Default: burst.after_s."),
        ("--external", click.Choice(_CONSENTS), "What may be bought for it from providers. Default: burst.external."),
        ("--rate-burst", int, "How many of those may come at once. Default: as many as in a minute."),
        ("--rate-per-minute", float, "Jobs that may be submitted in a minute. Default: any number."),
        ("--max-running", int, "Jobs that may run at once. Default: any number."),
        ("--max-open", int, "Jobs that may be open at once. Default: scheduling.max_open."),
        ("--weight", float, "Share of GPU time against other tenants. Default: 1."),
        ("--name", str, "A name for people."),
    ):
        command = click.option(name, type=kind, help=text)(command)
    return command


@click.group()
def tenants() -> None:
    """Tenants: who may use the farm, and for what share."""


@tenants.command("list")
@runs_here
def list_tenants(session: Session) -> None:
    """List all tenants."""
    with farm_tenants(session) as found:
        listed = found.list()
    if session.out.as_json:
        session.out.document(listed)
        return
    session.out.table(
        ["tenant", "name", ">weight", ">open at most", ">per minute", "provenance"],
        [_row(tenant, session.farm_settings().scheduling.max_open) for tenant in listed],
        empty="no tenants; wanfarm tenants create ID",
    )


def _pool_cap(text: str) -> tuple[str, int | None]:
    pool, given, most = text.partition("=")
    if not given or not (most.isdigit() or most == "any"):
        raise click.BadParameter(f"{text!r}: write POOL=N or POOL=any", param_hint="--max-running-in")
    return pool, None if most == "any" else int(most)


def _row(tenant: "Tenant", max_open: int) -> list[object]:
    limits = (tenant.max_open or max_open, tenant.rate_per_minute or "any")
    return [tenant.id, tenant.name, f"{tenant.weight:g}", *limits, tenant.provenance or "as the settings say"]


@tenants.command("show")
@click.argument("tenant", required=False)
@here_or_asked
def show_tenant(session: Session, tenant: str | None) -> None:
    """Show a tenant: its share, its limits, what is signed. Without TENANT your own, with its admin's key: the limits
    that hold and those that the operator grants."""
    if tenant is None:
        with session.client() as client:
            _show_own(session, client.tenant.get())
        return
    from farm.jobs.errors import NotFound
    from farm.results.provenance import Policies

    with farm_tenants(session) as known:
        found = known.get(tenant)
        if found is None:
            raise NotFound(f"no tenant {tenant!r}")
        settings = session.farm_settings()
        signed = Policies(settings.provenance, known).of(tenant)
    if session.out.as_json:
        session.out.document(found)
        return
    burst = f", {found.rate_burst} at once" if found.rate_burst else ""
    session.out.line(f"{found.id}: {found.name}")
    session.out.line(f"weight {found.weight:g}")
    session.out.line(f"open at most: {found.max_open or f'{settings.scheduling.max_open}, as the settings say'}")
    session.out.line(f"running at most: {found.max_running or 'any number'}")
    for pool, most in found.max_running_in.items():
        session.out.line(f"running in {pool} at most: {most}")
    session.out.line(f"per minute: {found.rate_per_minute or 'any number'}{burst}")
    session.out.line(f"bought elsewhere: {found.external or 'as the settings say'}")
    session.out.line(f"provenance {signed}{'' if found.provenance else ', as the settings say'}")


def _show_own(session: Session, own: "TenantView") -> None:
    if session.out.as_json:
        session.out.document(own)
        return
    session.out.line(f"{own.id}: {own.name}")
    session.out.line(f"weight {own.weight:g}")
    granted = dict(own.granted)
    rows = [[name, _told(value), _told(granted[name])] for name, value in own.limits]
    session.out.table(["limit", ">now", ">granted"], rows, empty="")


def _told(limit: Any) -> str:
    if isinstance(limit, dict):
        return ", ".join(f"{pool}={most}" for pool, most in limit.items()) or "any"
    return "any" if limit is None else f"{limit:g}"


@tenants.command("create")
@click.argument("tenant")
@_limits
@click.option("--provenance", type=click.Choice(_POLICIES), help="Whether its results are signed. Default: the farm's.")
@runs_here
def create_tenant(session: Session, tenant: str, name: str | None, **limits: Any) -> None:
    """Create a tenant, and a first API key of its admin."""
    given = {field: value for field, value in limits.items() if value is not None}
    with farm_tenants(session) as known:
        made = known.create(tenant, name=name, by=by_hand(), **given)
        key, text = known.api_keys.create(tenant, role="admin", name="first", by=by_hand())
    if session.out.as_json:
        session.out.document({"tenant": made, "key": key, "api_key": text})
        return
    session.out.line(text)
    session.out.say(f"tenant {tenant} is made; this is its admin's API key, shown only now")


@tenants.command("set")
@click.argument("tenant", required=False)
@_limits
@click.option(
    "--no-limits", is_flag=True, help="Remove limits of open and running jobs and of the rate, unless given here."
)
@click.option(
    "--max-running-in",
    "pool_caps",
    metavar="POOL=N|any",
    multiple=True,
    help="Jobs that may run in one pool at once.",
)
@click.option(
    "--provenance",
    type=click.Choice([*_POLICIES, "default"]),
    help="Whether its results are signed: off, on, required (an unsigned result is a failure), or as the settings say.",
)
@here_or_asked
def set_tenant(
    session: Session,
    tenant: str | None,
    no_limits: bool,
    provenance: str | None,
    pool_caps: tuple[str, ...],
    **limits: Any,
) -> None:
    """Change a tenant's name, share, limits or provenance. Without TENANT lower your own tenant's limits, with its
    admin's key; --no-limits then sets back what the operator grants."""
    given = {field: value for field, value in limits.items() if value is not None}
    if provenance is not None:
        given["provenance"] = None if provenance == "default" else provenance
    if no_limits:
        given = {"max_open": None, "max_running": None, "rate_per_minute": None, "rate_burst": None, **given}
    caps = dict(_pool_cap(text) for text in pool_caps)
    if tenant is None:
        _lower_own(session, given, caps)
        return
    if not given and not caps:
        raise click.UsageError("nothing to change; see wanfarm tenants set --help")
    from farm.claiming.pool_names import pool_names
    from farm.claiming.pool_names import words as pools_in_words

    with farm_here(session) as here:
        changed = here.tenants.set(tenant, by=by_hand(), **given)
        for pool, most in caps.items():
            changed = here.tenants.cap_in_pool(tenant, pool, most, by=by_hand())
        there = pool_names(session.farm_settings(), here.ledger) if caps else set()
    for pool in sorted(pool for pool, most in caps.items() if most is not None and pool not in there):
        # whoever sets up a pool may say what it is for before its first worker starts
        session.out.say(f"no worker and no setting has named a pool {pool!r} yet; {pools_in_words(there)}")
    if session.out.as_json:
        session.out.document(changed)
    else:
        session.out.say(f"tenant {tenant} is changed")
    if changed.provenance == "required" and session.farm_settings().provenance.certificate is None:
        # it may well be configured where the agents are, and only there
        session.out.say("no certificate is configured here; agents without one will fail this tenant's jobs")


def _lower_own(session: Session, given: dict[str, Any], caps: dict[str, int | None]) -> None:
    from farm.wire.own_tenant import LowerLimits

    if given.get("rate_burst", 0) is None:
        # --no-limits names it, too
        del given["rate_burst"]
    if foreign := sorted(given.keys() - LowerLimits.model_fields.keys()):
        raise click.UsageError(f"only an operator changes {', '.join(foreign)}")
    if caps:
        given["max_running_in"] = caps
    if not given:
        raise click.UsageError("nothing to change; see wanfarm tenants set --help")
    with session.client() as client:
        changed = client.tenant.lower(**given)
    _show_own(session, changed)
