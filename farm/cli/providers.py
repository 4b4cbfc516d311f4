"""`wanfarm providers`: who may sell to this farm, whether their keys work, what is left there, and who is not asked
now. Speaks to the farm's Redis and to the providers, on the farm's machine."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from farm.cli.exit_codes import FAILED
from farm.cli.ledger_here import farm_here
from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from farm.providers import Entry, Providers
    from farm.providers.gate import Gate, ProviderState

_why = click.option("--why", required=True, help="Kept in the log of what operators did.")


@click.group()
def providers() -> None:
    """Providers that jobs may be bought from. The settings name them: [providers.NAME]."""


@contextmanager
def _gate(session: Session, entries: "Providers") -> "Iterator[Gate]":
    from farm.jobs.errors import Unavailable
    from farm.ledger.connection import connect
    from farm.providers.gate import Gate

    settings = session.farm_settings()
    with connect(settings.redis) as redis:
        try:
            yield Gate(redis, settings, entries.entries)
        except Unavailable as error:
            raise Unavailable(f"{error}; is the farm up? `wanfarm up`") from error


def _providers(session: Session) -> "Providers":
    from farm.providers import Providers

    return Providers(session.farm_settings())


@providers.command("list")
@click.option("--models", is_flag=True, help="What each sells: what it may replace, how near it is, and its prices.")
@runs_here
def list_providers(session: Session, models: bool) -> None:
    """List providers: their open jobs, and why one is not asked now."""
    known = _providers(session)
    if models:
        _list_models(session, known)
        return
    with _gate(session, known) as gate:
        states = gate.states()
    if session.out.as_json:
        session.out.document(
            [{"provider": known.entries[one.name], "state": one, "parked": one.parked} for one in states]
        )
        return
    session.out.table(
        ["provider", "dialect", "keys", ">models", ">open", ">at most", ">failed", "now"],
        [_row(known.entries[one.name], one) for one in states],
        empty="no providers; see docs/providers.md",
    )


def _list_models(session: Session, known: "Providers") -> None:
    sold = [(entry, model) for entry in known.entries.values() for model in entry.models]
    if session.out.as_json:
        session.out.document([{"provider": entry.name, "model": model} for entry, model in sold])
        return
    rows = []
    for entry, model in sold:
        prices = ", ".join(f"{word} {usd / 1e6:g}" for word, usd in model.per_second.items())
        for ours, match in model.replaces.items():
            rows.append([entry.name, model.sold, ours, match.value, prices or "none: not bought", model.source])
    session.out.table(
        ["provider", "sells", "for", "is", "US$ a second", "says"], rows, empty="no models; see docs/providers.md"
    )


def _row(entry: "Entry", state: "ProviderState") -> list[object]:
    in_use, most = sum(one.in_use for one in state.accounts), sum(one.slots for one in state.accounts)
    failed = f"{state.failed / state.asked:.0%}" if state.asked >= 1 else ""
    now = (state.parked or "ready") if entry.enabled else "switched off"
    return [entry.name, entry.dialect, ", ".join(entry.key_names), len(entry.models), in_use, most, failed, now]


@providers.command()
@click.argument("names", metavar="[PROVIDER]...", nargs=-1)
@runs_here
def check(session: Session, names: tuple[str, ...]) -> int:
    """Try the key of every account. It orders nothing and spends nothing. Exit code: 1 when a key does not work."""
    from farm.providers import KeyMissing
    from farm.providers.check import Checked
    from farm.providers.check import check as checked

    known, found = _providers(session), []
    for entry, key in _accounts(known, names):
        try:
            result = checked(known.client_of(entry.name, key), entry)
        except KeyMissing as missing:
            result = Checked(False, str(missing))
        found.append((entry, key, result))
    if session.out.as_json:
        session.out.document([{"provider": entry.name, "key": key, "result": one} for entry, key, one in found])
    else:
        session.out.table(
            ["provider", "key", "works", "said"],
            [[entry.name, key, "yes" if one.ok else "NO", one.words] for entry, key, one in found],
            empty="no providers; see docs/providers.md",
        )
    return 0 if all(one.ok for _, _, one in found) else FAILED


@providers.command()
@click.argument("names", metavar="[PROVIDER]...", nargs=-1)
@runs_here
def balance(session: Session, names: tuple[str, ...]) -> int:
    """Show what is left in each account. In the provider's unit and in US dollars."""
    from farm.jobs.errors import FarmError
    from farm.providers.check import balance as left_at

    known, rows, failed = _providers(session), [], False
    for entry, key in _accounts(known, names):
        units = usd = None
        try:
            left = left_at(known.client_of(entry.name, key), entry)
            said = "" if left is not None else f"{entry.dialect} does not tell it"
            units = None if left is None else left / 1e6
            worth = None if left is None else entry.usd_micro(left)
            usd = None if worth is None else worth / 1e6
        except FarmError as error:
            said, failed = str(error), True
        rows.append({"provider": entry.name, "key": key, "units": units, "usd": usd, "said": said})
    if session.out.as_json:
        session.out.document(rows)
    else:
        session.out.table(
            ["provider", "key", ">units", ">US$", ""],
            [[row["provider"], row["key"], _number(row["units"]), _number(row["usd"]), row["said"]] for row in rows],
            empty="no providers; see docs/providers.md",
        )
    return FAILED if failed else 0


def _number(value: object) -> str:
    return "" if value is None else f"{value:,.2f}"


def _accounts(known: "Providers", names: tuple[str, ...]) -> "list[tuple[Entry, str]]":
    for name in names:
        _known(known, name)
    wanted = [entry for entry in known.entries.values() if not names or entry.name in names]
    return [(entry, key) for entry in wanted for key in entry.key_names]


def _known(known: "Providers", name: str) -> str:
    from farm.jobs.errors import NotFound

    if name not in known.entries:
        raise NotFound(f"no provider {name!r} in the settings; there are {', '.join(known.entries)}")
    return name


@providers.command()
@click.argument("name")
@_why
@runs_here
def pause(session: Session, name: str, why: str) -> None:
    """Buy nothing from a provider. What is open there is followed to its end."""
    from farm.ledger import SwitchKind

    _known(_providers(session), name)
    with farm_here(session) as here:
        changed = here.ledger.pause(SwitchKind.PROVIDER, name, who=_who(), why=why)
    _said(session, changed, f"{name} is paused")


@providers.command()
@click.argument("name")
@_why
@runs_here
def resume(session: Session, name: str, why: str) -> None:
    """End a pause of a provider."""
    from farm.ledger import SwitchKind

    _known(_providers(session), name)
    with farm_here(session) as here:
        changed, _ = here.ledger.resume(SwitchKind.PROVIDER, name, who=_who(), why=why)
    _said(session, changed, f"{name} goes on")


@providers.command("write-off")
@click.argument("name")
@click.argument("account", metavar="KEY")
@click.option("--usd", type=click.FloatRange(0, min_open=True), help="At most so many dollars. Default: all of it.")
@_why
@runs_here
def write_off(session: Session, name: str, account: str, usd: float | None, why: str) -> None:
    """Book money that went from an account without a purchase. The farm pays it; an order that the provider took
    twice is such money."""
    from farm.jobs.errors import NotFound

    known = _providers(session)
    entry = known.entries[_known(known, name)]
    if account not in entry.key_names:
        raise NotFound(
            f"no key {account!r} of {name} in the settings; there are {', '.join(entry.key_names) or 'none'}"
        )
    most = None if usd is None else round(usd * 1e6)
    with farm_here(session) as here:
        micro = here.ledger.write_off(name, account, most, who=_who(), why=why)
    if session.out.as_json:
        session.out.document({"written_off_usd": micro / 1e6})
    else:
        session.out.say(f"written off: {micro / 1e6:.4f} dollars" if micro else "there was nothing unexplained")


def _who() -> str:
    return f"{getpass.getuser()} here"


def _said(session: Session, changed: bool, done: str) -> None:
    if session.out.as_json:
        session.out.document({"changed": changed})
    else:
        session.out.say(done if changed else "it was so already")
