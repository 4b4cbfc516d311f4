"""What the farm has spent at providers, for the operators' page."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from farm.config import Settings
from farm.jobs.purchase import Purchase
from farm.ledger import Ledger


@dataclass(frozen=True)
class ProviderSpending:
    """At one provider, in millionths of a dollar. day, month: held and spent, of UTC; their caps are None where there
    is none. open: purchases whose price is held; unknown: those of which it is not known whether they arrived.
    balance: of all its accounts that tell it; unexplained: money that left them without a purchase."""

    day: int
    month: int
    day_cap: float | None
    month_cap: float | None
    open: int = 0
    unknown: int = 0
    balance: int | None = None
    unexplained: int = 0


@dataclass(frozen=True)
class SpentElsewhere:
    """By provider, and of the whole farm. left: purchases that no job waits for and whose end is not known, the oldest
    first."""

    providers: Mapping[str, ProviderSpending]
    farm: ProviderSpending
    left: Sequence[Purchase]

    @classmethod
    def read(cls, ledger: Ledger, settings: Settings) -> Self:
        """As it is now. Raises Unavailable."""
        day, month = (time.strftime(form, time.gmtime()) for form in ("%Y-%m-%d", "%Y-%m"))
        bought, caps = ledger.open_purchases(), settings.burst

        def spent(scope: str, *most: float | None) -> tuple[int, int, float | None, float | None]:
            """Micro-dollars of the day and of the month, with the caps of both in dollars."""
            both = (sum(ledger.external_spend(scope, period)) for period in (day, month))
            return (*both, *most)  # type: ignore[return-value]

        found = {}
        for name, provider in settings.providers.items():
            accounts = ledger.accounts_there([(name, key) for key in provider.keys])
            balances = [one["balance"] for one in accounts if "balance" in one]
            mine = [one for one in bought if one.provider == name]
            found[name] = ProviderSpending(
                *spent(f"provider {name}", caps.provider_day_usd, caps.provider_month_usd),
                open=len(mine),
                unknown=sum(one.id is None for one in mine),
                balance=sum(balances) if balances else None,
                unexplained=sum(one.get("unexplained", 0) for one in accounts),
            )
        farm = ProviderSpending(*spent("farm", caps.farm_day_usd, caps.farm_month_usd), open=len(bought))
        return cls(found, farm, [one for one in bought if not one.current])

    def of(self, provider: str) -> ProviderSpending:
        """Of one that is configured."""
        return self.providers[provider]
