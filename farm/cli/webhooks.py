"""`wanfarm webhooks`: what is on its way to receivers, what was given up, and the secrets that sign it. Speaks to the
farm's Redis, on the farm's machine."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from farm.cli.by_hand import by_hand
from farm.cli.ledger_here import farm_here
from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from farm.webhooks.deliveries import Delivery


@click.group()
def webhooks() -> None:
    """Webhooks: deliveries, dead letters, signing secrets."""


@webhooks.command("pending")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@runs_here
def pending(session: Session, limit: int) -> None:
    """List deliveries that are due, under way or to be retried."""
    with farm_here(session) as here:
        found = here.deliveries.pending(count=limit)
    _list(session, found, empty="nothing is on its way")


@webhooks.command("dead")
@click.argument("tenant")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@runs_here
def dead(session: Session, tenant: str, limit: int) -> None:
    """List a tenant's dead letters, newest first. A delivery is given up after webhooks.give_up_s, after the retries of
    its dialect, or where its receiver says that it is gone (410)."""
    with farm_here(session) as here:
        found = here.deliveries.dead(here.known(tenant), count=limit)
    _list(session, found, empty=f"{tenant} has no dead letters")


@webhooks.command("replay")
@click.argument("tenant")
@click.argument("delivery", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every dead letter of the tenant.")
@runs_here
def replay(session: Session, tenant: str, delivery: tuple[str, ...], everything: bool) -> None:
    """Send dead letters again, with all their retries. Name some, or --all."""
    from farm.jobs.errors import NotFound

    if everything == bool(delivery):
        raise click.UsageError("name dead letters, or give --all")
    with farm_here(session) as here:
        letters = [d.id for d in here.deliveries.dead(here.known(tenant), count=1_000_000)] if everything else delivery
        sent = [letter for letter in letters if here.deliveries.replay(tenant, letter)]
        if sent:
            here.ledger.note(by_hand(), "webhooks replayed", f"tenant {tenant}", after=f"{len(sent)} sent again")
    if session.out.as_json:
        session.out.document({"replayed": sent})
    if missing := sorted(set(delivery) - set(sent)):
        raise NotFound(f"{tenant} has no dead letter {', '.join(missing)}")
    session.out.say(f"{len(sent)} sent again")


@webhooks.command("secret")
@click.argument("tenant")
@click.option("--rotate", is_flag=True, help="Make a new secret; the last one still signs beside it.")
@click.option("--retire", is_flag=True, help="Stop signing with the one before.")
@runs_here
def secret(session: Session, tenant: str, rotate: bool, retire: bool) -> None:
    """Show or change the secret that signs a tenant's webhooks. It signs all of them as Standard Webhooks says."""
    from farm.tenants import vault
    from farm.webhooks.own_secret import change_secret, secret_of

    with farm_here(session) as here:
        here.known(tenant)
        current = (change_secret if rotate else secret_of)(here.secrets, tenant)
        if rotate:
            here.ledger.note(by_hand(), "webhook secret changed", f"tenant {tenant}")
        if retire:
            here.secrets.delete(tenant, vault.WEBHOOK_BEFORE)
            here.ledger.note(by_hand(), "webhook secret retired", f"tenant {tenant}")
    if session.out.as_json:
        session.out.document({"tenant": tenant, "secret": current})
    else:
        session.out.line(current)


@webhooks.command("callback-key")
@click.argument("dialect")
@click.argument("tenant")
@click.option("--set", "value", help="The key that the tenant's clients verify the signatures with.")
@click.option("--remove", is_flag=True, help="Sign no more in this dialect's way.")
@runs_here
def callback_key(session: Session, dialect: str, tenant: str, value: str | None, remove: bool) -> None:
    """Set the key of a dialect's own signatures. They are on its callbacks; kie calls it webhookHmacKey. Without one
    those headers are not sent."""
    from farm.wire.dialects import with_callback_keys

    keys = with_callback_keys()
    if dialect not in keys:
        raise click.UsageError(f"{dialect} has no signature of its own; these have: {', '.join(keys)}")
    _secret(session, tenant, keys[dialect].secret, value, remove=remove)


@webhooks.command("signing-secret")
@click.argument("tenant")
@click.argument("key_id", metavar="KEY_ID")
@click.option("--set", "value", help="The secret that requests with this API key must be signed with.")
@click.option("--remove", is_flag=True, help="The API key alone is enough again.")
@runs_here
def signing_secret(session: Session, tenant: str, key_id: str, value: str | None, remove: bool) -> None:
    """Let only signed requests use an API key. Some dialects can sign (wiro: a signature project)."""
    from farm.tenants import vault

    _secret(session, tenant, vault.signing(key_id), value, remove=remove)


def _secret(session: Session, tenant: str, name: str, value: str | None, *, remove: bool) -> None:
    if remove and value:
        raise click.UsageError("give --set or --remove, not both")
    with farm_here(session) as here:
        here.known(tenant)
        if remove:
            here.secrets.delete(tenant, name)
        elif value:
            here.secrets.set(tenant, name, value)
        if remove or value:
            # its name, never the secret
            here.ledger.note(by_hand(), "secret removed" if remove else "secret set", f"tenant {tenant}", after=name)
        kept = here.secrets.get(tenant, name)
    if session.out.as_json:
        session.out.document({"tenant": tenant, "secret": kept})
    else:
        session.out.line(kept or "none is set")


def _list(session: Session, found: "list[Delivery]", *, empty: str) -> None:
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        ["id", "tenant", "dialect", "to", ">failed", "last answer", "since (UTC)"],
        [
            [
                one.id,
                one.tenant,
                one.dialect,
                one.receiver.partition("|")[2],
                one.attempts,
                one.error,
                datetime.fromtimestamp(one.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            ]
            for one in found
        ],
        empty=empty,
    )
