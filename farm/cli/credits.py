"""`wanfarm credits`: what tenants have paid in, hold and spent. Speaks to the farm's Redis, on the farm's machine."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from farm.cli.by_hand import by_hand
from farm.cli.ledger_here import farm_here
from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from farm.ledger.outcomes import Account

_MICRO = 1_000_000


@click.group("credits")
def credits_() -> None:
    """Credit accounts of tenants. A tenant without one may spend without limit."""


@credits_.command("show")
@click.argument("tenant")
@runs_here
def show(session: Session, tenant: str) -> None:
    """Show what a tenant has, holds and may still spend."""
    with farm_here(session) as here:
        account = here.ledger.credit(here.known(tenant))
    _tell(session, tenant, account)


@credits_.command("topup")
@click.argument("tenant")
@click.argument("amount", type=float)
@click.option("--note", default="", help="Why: written into the statement and the log of operators' acts.")
@click.option("--reference", help="A payment's id: the same one is booked once.")
@runs_here
def topup(session: Session, tenant: str, amount: float, note: str, reference: str | None) -> None:
    """Book AMOUNT credits. The first top-up opens the account; a negative amount takes credits back."""
    micro = round(amount * _MICRO)
    if micro == 0 or abs(micro) > 10**15:
        raise click.UsageError("the amount must be between a millionth and a thousand million credits")
    with farm_here(session) as here:
        account = here.ledger.topup(here.known(tenant), micro, note, reference=reference, by=by_hand(note))
    _tell(session, tenant, account)


@credits_.command("statement")
@click.argument("tenant")
@click.option("--after", help="Go on after the line with this id.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most.")
@runs_here
def statement(session: Session, tenant: str, after: str | None, limit: int) -> None:
    """List bookings, oldest first: top-ups, holds, settles, releases."""
    with farm_here(session) as here:
        lines = here.ledger.statement(here.known(tenant), after=after, count=limit)
    if session.out.as_json:
        session.out.document([_plain(line) for line in lines])
        return
    session.out.table(
        ["id", "when (UTC)", "what", ">credits", ">balance", ">held", "job", "note"],
        [
            [
                line.id,
                datetime.fromtimestamp(line.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                line.kind,
                *(f"{value / _MICRO:g}" for value in (line.amount, line.balance, line.held)),
                line.job or "",
                line.note,
            ]
            for line in lines
        ],
        empty=f"nothing was booked for {tenant}",
    )


def _tell(session: Session, tenant: str, account: "Account | None") -> None:
    if session.out.as_json:
        told = None if account is None else _plain(account) | {"available": account.available / _MICRO}
        session.out.document({"tenant": tenant, "account": told})
    elif account is None:
        session.out.line(f"{tenant} has no account: nothing is counted")
    else:
        free, held = account.available / _MICRO, account.held / _MICRO
        session.out.line(f"{tenant}: {account.balance / _MICRO:g} credits, {held:g} of them held, {free:g} free")


def _plain(record: Any) -> dict[str, Any]:
    """Amounts in credits, as people read them."""
    values = dict(vars(record))
    return values | {name: values[name] / _MICRO for name in ("amount", "balance", "held") if name in values}
