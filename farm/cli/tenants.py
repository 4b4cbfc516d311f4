"""`wanfarm tenants`: who may use the farm, and for what share. Speaks to the farm's Redis, on the farm's machine."""

from typing import Any

import click

from farm.cli.farm_redis import farm_tenants
from farm.cli.session import Session, runs_here


def _limits(command: Any) -> Any:
    for name, kind, text in (
        ("--rate-burst", int, "How many of those at once."),
        ("--rate-per-minute", float, "Jobs that may be submitted in a minute. Default: any number."),
        ("--max-open", int, "Jobs that may be open at once. Default: any number."),
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
        ["tenant", "name", ">weight", ">open at most", ">per minute"],
        [[t.id, t.name, f"{t.weight:g}", t.max_open or "any", t.rate_per_minute or "any"] for t in listed],
        empty="no tenants; wanfarm tenants create ID",
    )


@tenants.command("create")
@click.argument("tenant")
@_limits
@runs_here
def create_tenant(session: Session, tenant: str, name: str | None, **limits: Any) -> None:
    """Create a tenant, and a first API key for it."""
    given = {field: value for field, value in limits.items() if value is not None}
    with farm_tenants(session) as known:
        made = known.create(tenant, name=name, **given)
        key, text = known.create_key(tenant, name="first")
    if session.out.as_json:
        session.out.document({"tenant": made, "key": key, "api_key": text})
        return
    session.out.line(text)
    session.out.say(f"tenant {tenant} is made; this is its API key, shown only now")


@tenants.command("set")
@click.argument("tenant")
@_limits
@click.option("--no-limits", is_flag=True, help="Remove every limit that is not given here.")
@runs_here
def set_tenant(session: Session, tenant: str, no_limits: bool, **limits: Any) -> None:
    """Change a tenant's name, share or limits."""
    given = {field: value for field, value in limits.items() if value is not None}
    if no_limits:
        given = {"max_open": None, "rate_per_minute": None, "rate_burst": None, **given}
    if not given:
        raise click.UsageError("nothing to change; see wanfarm tenants set --help")
    with farm_tenants(session) as known:
        changed = known.set(tenant, **given)
    if session.out.as_json:
        session.out.document(changed)
    else:
        session.out.say(f"tenant {tenant} is changed")
