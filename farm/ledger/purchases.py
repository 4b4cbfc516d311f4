"""Jobs that are bought from a provider: the intent, stored before anything is sent; the provider's id; what it cost;
and which process follows the job. What a price is and which provider is chosen is not here."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from farm.jobs.job import Claim, Fence
from farm.jobs.purchase import (
    Cap,
    OverCap,
    Payer,
    Purchase,
    PurchaseEnding,
    PurchaseNews,
    PurchaseState,
)
from farm.ledger.connection import mapped, stream_entries
from farm.ledger.outcomes import FailOutcome, Permit
from farm.ledger.records import decode
from farm.ledger.scripts import Scripted
from farm.ledger.workforce import permits

#: records that one script call reads
_AT_ONCE = 200


class Purchases(Scripted):
    """A bought job is `running`, in the pool BURST_POOL. Its lease is kept, committed, failed and released as any
    other. One that runs out in a phase of a provider, or is released, makes the job claimable there (`Ledger.claim`)
    with its purchase and its phase: to be resumed, not counted, and never submitted again. `submitting` without a
    provider's id is `submit_unknown` from then on.

    The purchase itself is a record of its own, by the nonce of its submission: it may stay open when its job has left.
    """

    def buy(
        self,
        job_id: str,
        worker: str,
        nonce: str,
        intent: Mapping[str, Any],
        *,
        price: int,
        caps: Sequence[Cap] = (),
        details: Mapping[str, Any] | None = None,
    ) -> Claim | OverCap | None:
        """Claim this queued job in order to buy it, hold its price (millionths of a dollar) against every cap, and
        store `intent` (small: provider, key's name, model) in the same write: what costs money is sent after this has
        returned, and never before. None: it is not there to be bought (claimed, held, over).

        `nonce` names the one submission that may follow: a repeated call finds the lease of the first, and buys nothing
        again after `unbuy`."""
        if price < 0:
            raise ValueError(f"price {price} is negative")
        limits = [part for cap in caps for part in (cap.scope, cap.period, cap.most)]
        # a late call would record a submission that was never made
        answer = self.run_in_time(
            "buy",
            *(job_id, worker, nonce, _text(intent), price, _text(details or {}), len(caps), *limits),
            patience_s=self._in_time_s,
            durable=True,
        )
        if not answer:
            return None
        if answer[0] == "cap":
            _, which, left = answer
            return OverCap(caps[which], int(left))
        attempt, job = answer
        return Claim(decode(job), Fence(attempt, nonce), int(self._settings.lease.seconds * 1000))

    def never_sent(self, nonce: str) -> bool:
        """Said by the process whose call of `buy` was answered too late: what it was to send, it never will. Whoever
        follows the purchase then knows. Whether there is such a purchase."""
        return bool(self.run("never_sent", nonce))

    def bought(
        self,
        nonce: str,
        purchase_id: str,
        handle: Mapping[str, Any] | None = None,
        *,
        who: str = "",
        why: str = "",
    ) -> PurchaseNews:
        """The submission arrived, and the provider calls it `purchase_id`; `handle` is what else its dialect asks with.
        Said before anything else is done about it, by whoever learns it, lease or not. `who`: an operator; `why`: for
        the log of operators' acts."""
        return PurchaseNews(self.run("bought", nonce, purchase_id, _text(handle or {}), who, why, durable=True))

    def unbuy(
        self, job_id: str, attempt: int, nonce: str, ending: PurchaseEnding | None, cost: int = 0
    ) -> tuple[FailOutcome, list[Permit]]:
        """The job leaves its purchase: queued again in its own pool, uncounted. Ends the lease. An ending of None: what
        became of the purchase is not known, and its price stays held."""
        outcome, wanted = self.run("unbuy", job_id, Fence.text(attempt), nonce, ending or "", cost, durable=True)
        return FailOutcome(outcome), permits(wanted)

    def close_purchase(
        self,
        nonce: str,
        ending: PurchaseEnding,
        cost: int,
        payer: Payer = Payer.TENANT,
        *,
        who: str = "",
        why: str = "",
    ) -> bool:
        """Close a purchase whose outcome is known. True when this call closed it; it is closed once. Called again, only
        who pays may change: from the tenant to the overhead account, where what was delivered was of no use. `who`,
        `why`: as of bought."""
        return bool(self.run("close_purchase", nonce, ending, cost, payer, who, why, durable=True))

    def purchase_told(self, job_id: str, nonce: str, purchase_id: str | None) -> bool:
        """A callback came to the address of this purchase. Whoever follows it looks; nothing else is believed."""
        return bool(self.run("purchase_told", job_id, nonce, purchase_id or ""))

    def told_purchases(self, after: str, block_ms: int) -> tuple[list[str], str]:
        """Nonces of purchases that callbacks came for after the id `after` ("$": from now on), and the next `after`."""
        with mapped():
            if after == "$":
                newest = cast("list[Any]", self._redis.xrevrange(self._keys("purchases_told"), count=1))
                after = str(newest[0][0]) if newest else "0-0"
            found = stream_entries(self._redis.xread({self._keys("purchases_told"): after}, count=500, block=block_ms))
        return [fields["nonce"] for _, fields in found], found[-1][0] if found else after

    # --- reading
    def purchase(self, nonce: str) -> Purchase | None:
        """The purchase of this nonce; None where there is none. Raises Unavailable."""
        found = self.purchases_of([nonce])
        return found[0] if found else None

    def purchases_of(self, nonces: Sequence[str]) -> list[Purchase]:
        """The purchases of these nonces, without those that do not exist. Raises Unavailable."""
        found = []
        for at in range(0, len(nonces), _AT_ONCE):
            found += [_purchase(*one) for one in self.run("read_purchases", *nonces[at : at + _AT_ONCE])]
        return found

    def purchases_of_job(self, job_id: str) -> list[Purchase]:
        """Every purchase of a job, the oldest first."""
        with mapped():
            nonces = cast("list[str]", self._redis.lrange(self._keys("purchases_of", job_id), 0, -1))
        return self.purchases_of(nonces)

    def open_purchases(self) -> list[Purchase]:
        """Purchases that are not closed, the oldest first: their prices are held. Raises Unavailable."""
        with mapped():
            nonces = cast("list[str]", self._redis.zrange(self._keys("purchases_open"), 0, -1))
        return [one for one in self.purchases_of(nonces) if one.state is PurchaseState.OPEN]

    def purchases(self, from_ms: int, to_ms: int) -> list[Purchase]:
        """Purchases that began in [from_ms, to_ms), ms since the epoch, the oldest first."""
        with mapped():
            nonces = cast("list[str]", self._redis.zrangebyscore(self._keys("purchases"), from_ms, f"({to_ms}"))
        return self.purchases_of(nonces)

    def balance_seen(self, provider: str, key: str, balance: int) -> int:
        """Note how much an account at a provider has left, in millionths of a dollar. Answers how much went that no
        purchase explains; that stays until an operator has settled the purchase, or has written it off."""
        return int(self.run("balance_seen", provider, key, balance))

    def write_off(self, provider: str, key: str, most: int | None, *, who: str, why: str) -> int:
        """What went from an account without a purchase is paid by the overhead account: up to `most` millionths of a
        dollar, None: all of it. Answers how much that was; it counts against today's caps of provider and farm."""
        return int(self.run("write_off", provider, key, "" if most is None else most, who, why, durable=True))

    def accounts_there(self, accounts: Sequence[tuple[str, str]]) -> list[Mapping[str, int]]:
        """Of each (provider, key): held, spent, balance, balance_ms, unexplained; what is not known is left out."""
        names = ("held", "spent", "balance", "balance_ms", "unexplained")
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            for provider, key in accounts:
                pipe.hmget(self._keys("account", provider, key), *names)
            found = pipe.execute()
        return [
            {name: int(float(value)) for name, value in zip(names, one, strict=True) if value is not None}
            for one in found
        ]

    def external_spend(self, scope: str, period: str) -> tuple[int, int]:
        """(held, spent) of a scope (as of a Cap; or "overhead") in a day ("2026-11-26") or a month ("2026-11")."""
        with mapped():
            held, spent = cast("list[Any]", self._redis.hmget(self._keys("spend", scope, period), "held", "spent"))
        return int(held or 0), int(spent or 0)


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(dict(plain), separators=(",", ":"), ensure_ascii=False)


def _purchase(nonce: str, pairs: Sequence[str], current: int) -> Purchase:
    record = dict(zip(pairs[::2], pairs[1::2], strict=True))
    optional = {name: int(record[name]) for name in ("cost", "closed_ms") if name in record}
    return Purchase(
        nonce=nonce,
        job=record["job"],
        tenant=record["tenant"],
        label=record["label"],
        provider=record["provider"],
        attempt=int(record["attempt"]),
        intent=json.loads(record["intent"]),
        price=int(record["price"]),
        at_ms=int(record["at_ms"]),
        state=PurchaseState(record["state"]),
        details=json.loads(record["details"]),
        id=record.get("id"),
        handle=json.loads(record.get("handle", "{}")),
        told=record.get("told"),
        ending=PurchaseEnding(record["ending"]) if "ending" in record else None,
        payer=Payer(record["payer"]) if "payer" in record else None,
        settled_by=record.get("settled_by"),
        unsent="unsent" in record,
        current=bool(current),
        **optional,
    )
