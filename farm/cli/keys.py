"""`wanfarm keys`: API keys. Of a tenant that is named, through the farm's Redis, on the farm's machine; else of the
tenant whose admin asks, over HTTP."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from farm.cli.by_hand import by_hand
from farm.cli.farm_redis import farm_tenants
from farm.cli.session import Session, here_or_asked, runs_here

#: the words of farm.jobs.roles.Role
_ROLES = ("member", "admin", "operator")


@click.group()
def keys() -> None:
    """API keys of a tenant.

    Of the TENANT that is named, on the farm's own machine; else of your own tenant, with its admin's key.

    \b
    member    submits, reads and cancels its tenant's jobs
    admin     also sees to its tenant's keys, webhooks and limits
    operator  also sees to the farm
    """


@keys.command("list")
@click.argument("tenant", required=False)
@here_or_asked
def list_keys(session: Session, tenant: str | None) -> None:
    """List keys, how each begins, and when it was last used."""
    listed: Any
    if tenant is None:
        with session.client() as client:
            listed = client.tenant.keys()
    else:
        with farm_tenants(session) as known:
            listed = known.api_keys.of(tenant)
    if session.out.as_json:
        session.out.document(listed)
        return
    session.out.table(
        ["id", "key", "role", "name", "created", "last used"],
        [
            [
                key.id,
                f"{key.shown}…",
                key.role,
                key.name,
                _day(key),
                key.last_used or "never",
            ]
            for key in listed
        ],
        empty=f"{tenant} has no keys; wanfarm keys create {tenant}",
    )


def _day(key: Any) -> str:
    made = key.created_at if hasattr(key, "created_at") else datetime.fromtimestamp(key.created_ms / 1000, UTC)
    return str(made.strftime("%Y-%m-%d"))


@keys.command("create")
@click.argument("tenant", required=False)
@click.option("--role", type=click.Choice(_ROLES), default="member", show_default=True, help="What the key may do.")
@click.option("--name", default="", help="What the key is for.")
@click.option("--ak", is_flag=True, help="`ak_` and 32 characters: crun's clients take no other form.")
@here_or_asked
def create_key(session: Session, tenant: str | None, *, role: str, name: str, ak: bool) -> None:
    """Make a key. It is shown only now: the farm keeps its hash."""
    key: Any
    if tenant is None:
        with session.client() as client:
            key = client.tenant.make_key(role, name, ak=ak)
        text = key.api_key
    else:
        with farm_tenants(session) as known:
            key, text = known.api_keys.create(tenant, role=role, name=name, ak=ak, by=by_hand())
    if session.out.as_json:
        session.out.document({"key": key, "api_key": text})
        return
    session.out.line(text)
    session.out.say(f"key {key.id} of {tenant or 'your tenant'}: shown only now")


@keys.command("first")
@click.option("--url", required=True, help="The gateway's address, for the commands that use these keys.")
@click.option(
    "--metrics-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put an operator's key here too, readable by all: for Prometheus, in a folder of its own.",
)
@runs_here
def first(session: Session, metrics_key: Path | None) -> None:
    """Make a new farm's first tenant, its key and an operator's.

    They are written to client.toml in the state folder.
    Keys that are there and work are kept: run it at every start.
    """
    from farm.embedded.first_keys import first_keys

    folder = session.folder()
    folder.make()
    # the option is the one by which a session knows the farm's address
    notes = first_keys(session.farm_settings(), session.url or "", folder)
    if metrics_key is not None:
        # Prometheus is another user
        metrics_key.write_text(notes.admin_key or "")
        metrics_key.chmod(0o644)
    if session.out.as_json:
        session.out.document({"tenant": notes.tenant, "client_file": str(folder.client_file)})
    else:
        session.out.say(f"the keys of {notes.tenant} and the operator's are in {folder.client_file}")


@keys.command("revoke")
@click.argument("key_id", metavar="KEY_ID")
@click.option("--own", is_flag=True, help="A key of your own tenant, with its admin's key.")
@here_or_asked
def revoke_key(session: Session, key_id: str, own: bool) -> None:
    """Revoke a key by its id (`wanfarm keys list`). It stops working within seconds."""
    if own:
        with session.client() as client:
            client.tenant.revoke_key(key_id)
    else:
        with farm_tenants(session) as known:
            known.api_keys.revoke(key_id, by=by_hand())
    if session.out.as_json:
        session.out.document({"revoked": key_id})
    else:
        session.out.say(f"key {key_id} is revoked")
