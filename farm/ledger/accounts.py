"""A tenant's credit and request rate. Holds, settlements and releases are part of a job's transitions, not here."""

from typing import Any, cast
from uuid import uuid4

from farm.jobs.errors import InvalidRequest
from farm.jobs.money import credits_text
from farm.ledger.connection import mapped
from farm.ledger.operations import Actor
from farm.ledger.outcomes import Account, RateVerdict, StatementKind, StatementLine
from farm.ledger.scripts import Scripted


class Accounts(Scripted):
    """Every call raises Unavailable. All amounts are micro-credits."""

    def credit(self, tenant: str) -> Account | None:
        """What the tenant has, in micro-credits. None: it has no account, so its credit is not limited."""
        with mapped():
            balance, held = cast("list[Any]", self._redis.hmget(self._keys("credit", tenant), "balance", "held"))
        return None if balance is None else Account(int(balance), int(held or 0))

    def topup(
        self, tenant: str, amount: int, note: str = "", *, reference: str | None = None, by: Actor | None = None
    ) -> Account:
        """Book `amount` micro-credits and open the account if there is none. The same `reference` (a payment's id) is
        booked once. A negative amount corrects; raises InvalidRequest where it would take what open jobs hold. `by`:
        the operator, for the log of operations."""
        # without a reference of the caller's, one of ours: the client may send the same call twice
        once, (who, why) = reference or uuid4().hex, (by.who, by.why) if by else ("", "")
        booked, balance, held = self.run("topup", tenant, amount, note, once, who, why, durable=True)
        if not booked:
            raise InvalidRequest(
                f"only {credits_text(balance - held)} of {credits_text(balance)} credits are free; the others are "
                "held for open jobs",
                "amount",
            )
        return Account(balance, held)

    def statement(self, tenant: str, *, after: str | None = None, count: int = 100) -> list[StatementLine]:
        """Bookings after the id `after`, oldest first; the whole statement is kept."""
        with mapped():
            entries = self._redis.xrange(
                self._keys("statement", tenant), min=f"({after}" if after else "-", max="+", count=count
            )
        return [_line(entry_id, fields) for entry_id, fields in cast("list[tuple[str, dict[str, str]]]", entries)]

    def newest_bookings(self, tenant: str, *, before: str | None = None, count: int = 100) -> list[StatementLine]:
        """Bookings before the id `before`, the newest first."""
        with mapped():
            entries = self._redis.xrevrange(
                self._keys("statement", tenant), max=f"({before}" if before else "+", min="-", count=count
            )
        return [_line(entry_id, fields) for entry_id, fields in cast("list[tuple[str, dict[str, str]]]", entries)]

    def rate(self, tenant: str) -> RateVerdict:
        """Count one request against the tenant's rate, and say whether it may go on."""
        answer = self.run("rate", tenant)
        if not answer:
            return RateVerdict(allowed=True)
        allowed, limit, remaining, reset_ms, retry_after_ms = answer
        return RateVerdict(bool(allowed), limit, remaining, reset_ms / 1000, retry_after_ms / 1000)


def _line(entry_id: str, fields: dict[str, str]) -> StatementLine:
    return StatementLine(
        id=entry_id,
        at_ms=int(entry_id.partition("-")[0]),
        kind=StatementKind(fields["kind"]),
        amount=int(fields["amount"]),
        job=fields["job"] or None,
        balance=int(fields["balance"]),
        held=int(fields["held"]),
        note=fields["note"],
    )
