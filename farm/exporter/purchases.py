"""What is bought from providers, as families of samples."""

import time
from collections.abc import Iterator

from farm.config import Settings
from farm.exporter.families import each, single
from farm.jobs.money import MICRO
from farm.ledger import Ledger
from monitoring import farm_metrics as metrics
from monitoring.read_metrics import Family

#: whether the provider's id is known
_WORDS = ("known", "unknown")


def purchases(ledger: Ledger, settings: Settings) -> Iterator[Family]:
    """Nothing where no provider is configured and nothing was left when the last one went. Raises Unavailable."""
    found = ledger.open_purchases()
    if not settings.providers and not found:
        return
    now_ms = time.time() * 1000
    late_ms = settings.burst.unknown_after_s * 1000
    lost = [p for p in found if not p.current or (p.id is None and now_ms - p.at_ms > late_ms)]
    yield single(metrics.UNRECONCILED, len(lost))
    counts: dict[tuple[str, ...], float] = {(name, word): 0 for name in settings.providers for word in _WORDS}
    for purchase in found:
        label = (purchase.provider, _WORDS[purchase.id is None])
        counts[label] = counts.get(label, 0) + 1
    yield each(metrics.PURCHASES_OPEN, counts)
    accounts = [(name, key) for name, provider in settings.providers.items() for key in provider.keys]
    told = dict(zip(accounts, ledger.accounts_there(accounts), strict=True))
    for metric, field in (
        (metrics.PROVIDER_HELD, "held"),
        (metrics.PROVIDER_SPENT, "spent"),
        (metrics.PROVIDER_BALANCE, "balance"),
        (metrics.PROVIDER_UNEXPLAINED, "unexplained"),
    ):
        yield each(metric, {account: got[field] / MICRO for account, got in told.items() if field in got})
    month = time.strftime("%Y-%m", time.gmtime())
    scopes = ("farm", "overhead")
    yield each(metrics.EXTERNAL_MONTH, {(scope,): sum(ledger.external_spend(scope, month)) / MICRO for scope in scopes})
