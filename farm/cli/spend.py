"""`wanfarm spend` and `wanfarm purchases`: what was rendered here, what was bought, for how much. Over HTTP."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm

if TYPE_CHECKING:
    from farm.wire.own_spend import SpendLine

_day = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option(
    "--by",
    type=click.Choice(["tenant", "label", "batch", "provider", "model", "day"]),
    default="label",
    show_default=True,
    help="What each line is for.",
)
@click.option(
    "--from", "first", type=_day, metavar="YYYY-MM-DD", help="The first day (UTC). Default: the first of this month."
)
@click.option("--to", "last", type=_day, metavar="YYYY-MM-DD", help="The last day (UTC). Default: today.")
@click.option("--farm", is_flag=True, help="All tenants; needs an operator's key.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on standard output, for a spreadsheet.")
@asks_the_farm
def spend(
    session: Session, *, by: str, first: datetime | None, last: datetime | None, farm: bool, as_csv: bool
) -> None:
    """What jobs came to, rendered here and bought. Failed purchases are included."""
    with session.client(admin=farm) as client:
        found = client.spending.sums(by, first and first.date(), last and last.date(), farm=farm)
    if as_csv:
        from farm.wire.own_spend import as_csv as written

        sys.stdout.write(written(found.data))
        return
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        [by, ">here", ">bought", ">seconds here", ">credits", ">spent $", ">failed $", ">wasted $", ">held $"],
        [_row(line) for line in found.data],
        empty=f"nothing ended from {found.first_day} to {found.last_day}",
    )


def _row(line: "SpendLine") -> list[Any]:
    dollars = (line.bought_usd, line.failed_usd, line.wasted_usd, line.held_usd)
    return [
        line.name or "-",
        line.jobs_here,
        line.jobs_bought,
        f"{line.seconds_here:.1f}",
        f"{line.credits:g}",
        *(f"{usd:.4f}" for usd in dollars),
    ]


@click.group()
def purchases() -> None:
    """Purchases from providers, and what became of them. Needs an operator's key."""


@purchases.command("list")
@click.option(
    "--which",
    type=click.Choice(["open", "left", "all"]),
    default="open",
    show_default=True,
    help="open: not settled; left: those of them that no job waits for.",
)
@asks_the_farm
def list_(session: Session, which: Any) -> None:
    """List purchases, oldest first."""
    with session.client(admin=True) as client:
        found = client.spending.purchases(which)
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        ["purchase", "state", "provider", "id there", ">price $", ">cost $", "payer", "job", "since (UTC)"],
        [
            [
                one.purchase,
                one.ending or one.state,
                f"{one.provider}/{one.key}",
                one.id or "?",
                f"{one.price_usd:.4f}",
                "" if one.cost_usd is None else f"{one.cost_usd:.4f}",
                one.payer,
                one.job,
                f"{one.at:%Y-%m-%d %H:%M:%S}",
            ]
            for one in found
        ],
        empty="there is none",
    )


@purchases.command()
@click.argument("purchase")
@click.option("--arrived-as", metavar="ID", help="The provider has it, under this id: the farm reads the rest itself.")
@click.option("--never-arrived", is_flag=True, help="The provider's records do not have it: nothing was spent.")
@click.option("--cost", type=click.FloatRange(0), metavar="USD", help="It is over there and came to so many dollars.")
@click.option("--why", required=True, help="Kept in the log of what operators did.")
@asks_the_farm
def settle(
    session: Session, *, purchase: str, arrived_as: str | None, never_arrived: bool, cost: float | None, why: str
) -> None:
    """Say what became of a purchase of which nothing is known. One of --arrived-as, --never-arrived and --cost is
    needed, as the provider's own records have it."""
    if sum((arrived_as is not None, never_arrived, cost is not None)) != 1:
        raise click.UsageError("say one of --arrived-as, --never-arrived, --cost")
    with session.client(admin=True) as client:
        changed = client.spending.settle(
            purchase, arrived_as=arrived_as, cost_usd=0.0 if never_arrived else cost, why=why
        )
    if session.out.as_json:
        session.out.document({"changed": changed})
    else:
        session.out.say("settled" if changed else "it was known already")
