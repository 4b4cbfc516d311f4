"""`wanfarm keys`: API keys of tenants. Speaks to the farm's Redis, on the farm's machine."""

from datetime import UTC, datetime
from pathlib import Path

import click

from farm.cli.farm_redis import farm_tenants
from farm.cli.session import Session, runs_here


@click.group()
def keys() -> None:
    """API keys of tenants."""


@keys.command("list")
@click.argument("tenant")
@runs_here
def list_keys(session: Session, tenant: str) -> None:
    """List a tenant's keys: what may be seen of them, and when they were last used."""
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
                datetime.fromtimestamp(key.created_ms / 1000, UTC).strftime("%Y-%m-%d"),
                key.last_used or "never",
            ]
            for key in listed
        ],
        empty=f"{tenant} has no keys; wanfarm keys create {tenant}",
    )


@keys.command("create")
@click.argument("tenant")
@click.option("--role", type=click.Choice(["tenant", "admin"]), default="tenant", show_default=True)
@click.option("--name", default="", help="What it is for.")
@click.option("--ak", is_flag=True, help="`ak_` and 32 characters: crun's clients take no other form.")
@runs_here
def create_key(session: Session, tenant: str, *, role: str, name: str, ak: bool) -> None:
    """Make a key. It is shown once: only its hash is kept."""
    with farm_tenants(session) as known:
        key, text = known.api_keys.create(tenant, role=role, name=name, ak=ak)
    if session.out.as_json:
        session.out.document({"key": key, "api_key": text})
        return
    session.out.line(text)
    session.out.say(f"key {key.id} of {tenant}: shown only now")


@keys.command("first")
@click.option("--url", required=True, help="The gateway's address, for the commands that use these keys.")
@click.option(
    "--metrics-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Put an operator's key here too, readable by all: for Prometheus, in a folder of its own.",
)
@runs_here
def first(session: Session, url: str, metrics_key: Path | None) -> None:
    """Make a new farm's first tenant, its key and the operator's, in the state folder's client.toml.

    Keys that are there and work are kept: run it at every start.
    """
    from farm.embedded.first_keys import first_keys

    folder = session.folder()
    folder.make()
    notes = first_keys(session.farm_settings(), url, folder)
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
@runs_here
def revoke_key(session: Session, key_id: str) -> None:
    """Revoke a key by its id (`wanfarm keys list`). It stops working within seconds."""
    with farm_tenants(session) as known:
        known.api_keys.revoke(key_id)
    if session.out.as_json:
        session.out.document({"revoked": key_id})
    else:
        session.out.say(f"key {key_id} is revoked")
