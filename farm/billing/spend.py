"""What was rendered here and what was bought, in sums. Pure. Amounts of purchases are millionths of a US dollar,
credits millionths of a credit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

from farm.jobs.job import Job
from farm.jobs.purchase import Payer, Purchase, PurchaseEnding, PurchaseState
from farm.jobs.states import State

#: the provider of what was rendered by the farm itself
HERE = "here"


class By(StrEnum):
    """What the sums are of."""

    TENANT = "tenant"
    LABEL = "label"
    BATCH = "batch"
    PROVIDER = "provider"
    MODEL = "model"
    DAY = "day"


@dataclass(frozen=True)
class Spend:
    """jobs_here, jobs_bought  jobs that succeeded; seconds_here: that their last attempts took
    credits     charged to tenants, wherever a job was rendered
    bought      spent on results that were used;  failed: on purchases that came to nothing
    wasted      on results that nobody needed any more: the farm pays
    held        for purchases that are not over
    """

    name: str
    jobs_here: int = 0
    jobs_bought: int = 0
    seconds_here: float = 0.0
    credits: int = 0
    bought: int = 0
    failed: int = 0
    wasted: int = 0
    held: int = 0


@dataclass
class _Sums:
    rows: dict[str, Spend] = field(default_factory=dict)

    def add(self, name: str, **more: float) -> None:
        row = self.rows.get(name) or Spend(name)
        self.rows[name] = replace(row, **{one: getattr(row, one) + value for one, value in more.items()})


def spend(jobs: Iterable[Job], purchases: Iterable[Purchase], by: By) -> list[Spend]:
    """`jobs` that ended, `purchases` of any state; by name."""
    sums = _Sums()
    for job in jobs:
        if job.state is State.SUCCEEDED:
            bought = job.purchase is not None
            sums.add(
                _OF_JOB[by](job),
                jobs_bought=int(bought),
                jobs_here=int(not bought),
                seconds_here=0.0 if bought else max(0, (job.finished_ms or 0) - (job.started_ms or 0)) / 1000,
                credits=job.charged or 0,
            )
    for purchase in purchases:
        sums.add(_OF_PURCHASE[by](purchase), **{_kind(purchase): _amount(purchase)})
    return [sums.rows[name] for name in sorted(sums.rows)]


def _kind(purchase: Purchase) -> str:
    if purchase.state is PurchaseState.OPEN:
        return "held"
    if purchase.payer is Payer.OVERHEAD:
        return "wasted"
    return "bought" if purchase.ending is PurchaseEnding.DELIVERED else "failed"


def _amount(purchase: Purchase) -> int:
    return purchase.price if purchase.state is PurchaseState.OPEN else purchase.cost or 0


def _day(ms: int | None) -> str:
    return datetime.fromtimestamp((ms or 0) / 1000, UTC).date().isoformat()


_OF_JOB: dict[By, Callable[[Job], str]] = {
    By.TENANT: lambda job: job.tenant,
    By.LABEL: lambda job: job.label or "",
    By.BATCH: lambda job: job.batch or "",
    By.PROVIDER: lambda job: str(job.purchase["provider"]) if job.purchase else HERE,
    By.MODEL: lambda job: job.spec.model,
    By.DAY: lambda job: _day(job.finished_ms),
}
_OF_PURCHASE: dict[By, Callable[[Purchase], str]] = {
    By.TENANT: lambda one: one.tenant,
    By.LABEL: lambda one: one.label,
    By.BATCH: lambda one: str(one.intent.get("batch", "")),
    By.PROVIDER: lambda one: one.provider,
    By.MODEL: lambda one: str(one.intent["model"]),
    By.DAY: lambda one: _day(one.at_ms),
}
