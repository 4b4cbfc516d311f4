"""Whether an account works, found out without spending anything."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from farm.jobs.errors import FarmError
from farm.providers.carrier import NoAnswer, NotSent, carry
from farm.providers.entry import Entry
from farm.wire.http import Can, Outbound, Placed, ProviderAnswer, ProviderRefused, ProviderRequest, Unreadable, Why

#: a job that nobody has
_NOBODYS = "00000000-0000-4000-8000-000000000000"

Send = Callable[[ProviderRequest, float], ProviderAnswer]


@dataclass(frozen=True)
class Checked:
    """`ok`: the provider knows the key. `left_micro`: what is in the account, millionths of the provider's unit; None
    where the dialect has no word for it."""

    ok: bool
    words: str
    left_micro: int | None = None


def check(client: Outbound, entry: Entry, send: Send = carry) -> Checked:
    """Asks for the balance, or about a job that does not exist: a provider that says so knows the key. Orders
    nothing."""
    try:
        with suppress(Unreadable):
            left = balance(client, entry, send)
            if left is not None:
                return Checked(True, "the key works", left)
        placed = Placed(_NOBODYS, model=entry.models[0].sold if entry.models else "")
        client.report(placed, send(client.status(placed), entry.timeout_s))
    except ProviderRefused as no:
        return Checked(True, "the key works") if no.why is Why.UNKNOWN_JOB else Checked(False, str(no))
    except NotSent as error:
        return Checked(False, f"not reached: {error}")
    except (NoAnswer, FarmError) as error:
        return Checked(False, f"no answer that can be read: {error}")
    return Checked(True, "the key works")


def balance(client: Outbound, entry: Entry, send: Send = carry) -> int | None:
    """Millionths of the provider's unit; None where it cannot be asked. Raises what the client and `send` raise."""
    if Can.BALANCE not in client.can:
        return None
    try:
        return client.left(send(client.balance(), entry.timeout_s))
    except ProviderRefused as no:
        if no.why is Why.UNKNOWN_JOB:  # a 404: this server has no such page
            return None
        raise
