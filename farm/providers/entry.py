"""A provider as the farm knows it, and the words for how near a bought model is to the one that was asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Match(StrEnum):
    """How near a provider's model is to one of our catalog.

    SAME_WEIGHTS  the same published weights, whatever their precision. Steps and samplers are the provider's
    SAME_FAMILY   made from those weights: distilled, fine-tuned
    SUBSTITUTE    another model that does the same task
    """

    SAME_WEIGHTS = "same_weights"
    SAME_FAMILY = "same_family"
    SUBSTITUTE = "substitute"


class Consent(StrEnum):
    """What a tenant or a job allows to be bought (`external`)."""

    NEVER = "never"
    SAME = "same"
    FAMILY = "family"
    ANY = "any"

    def allows(self, match: Match) -> bool:
        """Whether a model so near may be bought."""
        return match in _ALLOWED[self]

    def narrowed(self, other: "Consent") -> "Consent":
        """The narrower of two: a job cannot allow what its tenant does not."""
        order = list(Consent)
        return min(self, other, key=order.index)


_ALLOWED: Mapping[Consent, frozenset[Match]] = {
    Consent.NEVER: frozenset(),
    Consent.SAME: frozenset({Match.SAME_WEIGHTS}),
    Consent.FAMILY: frozenset({Match.SAME_WEIGHTS, Match.SAME_FAMILY}),
    Consent.ANY: frozenset(Match),
}


@dataclass(frozen=True)
class SoldModel:
    """One model that a provider sells.

    sold        the provider's own name for it
    orders_as   the catalog id that the dialect's codec writes as `sold`
    task        the only task that it does; None: the inputs decide
    replaces    catalog id -> how near it is;  source: where that is from
    per_second  resolution word -> millionths of a US dollar per second of video
    """

    sold: str
    orders_as: str
    task: str | None
    replaces: Mapping[str, Match]
    source: str
    per_second: Mapping[str, int]
    minimum_s: float = 0.0
    maximum_s: float | None = None
    route: str | None = None


@dataclass(frozen=True)
class Entry:
    """One provider, its settings with the dialect's defaults filled in; the units are those of ProviderSettings.
    Holds no secret."""

    name: str
    dialect: str
    base_url: str
    upload_url: str | None = None
    key_names: tuple[str, ...] = ()
    unit_usd: float | None = None
    models: tuple[SoldModel, ...] = field(default=(), repr=False)
    order: int = 100
    rate_per_s: float = 1.0
    rate_burst: int = 5
    concurrency: int = 20
    poll_first_s: float = 5.0
    poll_max_s: float = 30.0
    timeout_s: float = 30.0
    callbacks: bool = True
    enabled: bool = True
    slot_s: float = 6 * 3600.0

    def usd_micro(self, units_micro: int) -> int | None:
        """What the provider says in its own money, in millionths of a US dollar; None where nobody said its worth."""
        return None if self.unit_usd is None else round(units_micro * self.unit_usd)
