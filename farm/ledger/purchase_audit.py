"""The audit of what is held for purchases: against the caps of tenants, providers and the farm, and of accounts."""

import time
from collections import Counter
from typing import cast

from farm.ledger.connection import mapped
from farm.ledger.outcomes import AuditReport
from farm.ledger.purchases import Purchases

#: stages of the audit, and the keys that each goes through
PURCHASES, SPEND, ACCOUNT = "purchases", "spend", "account"
_KEYS = {PURCHASES: "purchase", SPEND: "spend", ACCOUNT: "account"}
_AFTER = {PURCHASES: f"{SPEND}:0", SPEND: f"{ACCOUNT}:0", ACCOUNT: None}
#: purchases begin and end meanwhile: so many times is looked again, then this part is left to the next audit
_TRIES = 10

#: what holds something: (stage, tenant, provider or "farm", day or month), or (stage, provider, key)
_Place = tuple[str, str, str]


class PurchaseAudit(Purchases):
    """The last stages of an audit (farm.ledger.upkeep)."""

    def audit_purchases(self, stage: str, position: int, limit: int) -> AuditReport:
        """One part of a stage: about `limit` keys from `position` of Redis' SCAN."""
        first, begins = position == 0, f"{self._keys.prefix}:{_KEYS[stage]}:"
        with mapped():
            scanned = self._redis.scan(position, match=f"{begins}*", count=limit, _type="HASH")
        position, keys = cast("tuple[int, list[str]]", scanned)
        names = [key.removeprefix(begins) for key in keys]
        if stage == PURCHASES:
            counter, wrong = "purchases_open", int(self.run("audit_purchases", *names)) if names else 0
        else:
            places = {(stage, *_parted(name)) for name in names}
            counter, wrong = "held_external", self._mend(stage, places, with_all=first)
        following = f"{stage}:{position}" if position else _AFTER[stage]
        return AuditReport(len(names), {counter: wrong} if wrong else {}, following)

    def _mend(self, stage: str, places: set[_Place], *, with_all: bool) -> int:
        """`with_all`: also places that hold something and are not stored."""
        if not places and not with_all:
            return 0
        for _ in range(_TRIES):
            with mapped():
                moved = str(self._redis.get(self._keys("purchases_moved")) or "0")
            held = self._held(stage)
            looked = sorted(places | (set(held) if with_all else set()))
            told = [part for place in looked for part in (*place, held[place])]
            wrong = int(self.run("audit_held", moved, len(looked), *told))
            if wrong >= 0:
                return wrong
        return 0

    def _held(self, stage: str) -> Counter[_Place]:
        held: Counter[_Place] = Counter()
        for one in self.open_purchases():
            if stage == ACCOUNT:
                held[stage, one.provider, str(one.intent.get("key", ""))] += one.price
                continue
            at = time.gmtime(one.at_ms / 1000)
            for scope in (f"tenant {one.tenant}", f"provider {one.provider}", "farm"):
                for period in (time.strftime("%Y-%m-%d", at), time.strftime("%Y-%m", at)):
                    held[stage, scope, period] += one.price
        return held


def _parted(name: str) -> tuple[str, str]:
    first, _, second = name.rpartition(":")
    return first, second
