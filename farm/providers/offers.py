"""Who would render a job, as what and for how much at most, and why the others would not. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.jobs.spec import JobSpec
from farm.providers.entry import Consent, Entry, Match, SoldModel
from farm.wire.dialects import rules_of
from farm.wire.http import ProviderRefused
from farm.wire.outbound import CLIENTS
from farm.wire.purchase_order import PurchaseOrder, seconds_word, size_words
from models.catalog import MODELS

#: stands for inputs whose address at the provider is not made yet
_SOMEWHERE = "https://inputs.example"


@dataclass(frozen=True)
class Offer:
    """One provider's model for one job.

    sold         the provider's own name for the model;  model: what a PurchaseOrder is told (`PurchaseOrder.model`)
    match        how near it is to the model that was asked for;  source: where that is from
    price_micro  the most that this job costs there, millionths of a US dollar
    seconds      that are billed;  resolution: the word that they are billed at
    dialect_data for the PurchaseOrder
    """

    provider: str
    dialect: str
    sold: str
    model: str
    match: Match
    source: str
    price_micro: int
    seconds: float
    resolution: str
    dialect_data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Offers:
    """`offers`: by the operator's order, then the nearer model, then price. `refused`: provider -> why not, a sentence;
    under "" why nobody may be asked at all."""

    offers: tuple[Offer, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def offers(
    entries: Mapping[str, Entry],
    spec: JobSpec,
    consent: Consent,
    *,
    promised_seed: bool = False,
    own_lane: bool = False,
) -> Offers:
    """`promised_seed`: whoever sent the job relies on its seed. `own_lane`: its lane is one of the tenant's own."""
    if reason := _stays(spec, consent, promised_seed=promised_seed, own_lane=own_lane):
        return Offers(refused={"": reason})
    found: list[Offer] = []
    refused: dict[str, str] = {}
    for entry in entries.values():
        mine, why = _of(entry, spec, consent)
        if mine is None:
            refused[entry.name] = why
        else:
            found.append(mine)
    nearness = list(Match)
    found.sort(key=lambda one: (entries[one.provider].order, nearness.index(one.match), one.price_micro, one.provider))
    return Offers(tuple(found), refused)


def _stays(spec: JobSpec, consent: Consent, *, promised_seed: bool, own_lane: bool) -> str:
    if consent is Consent.NEVER:
        return "it may not be rendered elsewhere (external: never)"
    if spec.loras:
        return "it stays here: its LoRAs are here"
    if own_lane:
        return "it stays here: its lane is the tenant's own"
    if promised_seed:
        return "it stays here: its seed was promised, and the same seed is another clip elsewhere"
    if not (spec.sides_known and spec.length_known):
        return "its size or length is not known yet"
    return ""


def _of(entry: Entry, spec: JobSpec, consent: Consent) -> tuple[Offer | None, str]:
    """The provider's best offer, or why it has none."""
    if not entry.enabled:
        return None, "it is switched off in the settings"
    if not entry.key_names:
        return None, "it has no key"
    selling = [
        model
        for model in entry.models
        if spec.model in model.replaces and (model.task is None or model.task == spec.task)
    ]
    if not selling:
        return None, f"it sells nothing that replaces {spec.model}"
    allowed = [model for model in selling if consent.allows(model.replaces[spec.model])]
    if not allowed:
        near = min((model.replaces[spec.model] for model in selling), key=list(Match).index)
        return None, f"what it sells for {spec.model} is {near}, and external is {consent}"
    reasons: list[str] = []
    made: list[Offer] = []
    for model in allowed:
        offer, why = _offer(entry, model, spec, consent)
        if offer is None:
            reasons.append(why)
        else:
            made.append(offer)
    if not made:
        return None, reasons[0]
    return min(made, key=lambda one: (list(Match).index(one.match), one.price_micro)), ""


def _offer(entry: Entry, model: SoldModel, spec: JobSpec, consent: Consent) -> tuple[Offer | None, str]:
    resolution = size_words(spec)[0]
    per_second = model.per_second.get(resolution)
    if per_second is None:
        return (
            None,
            f"its price is not known: providers.{entry.name}.models.{model.sold!r}.per_second has no {resolution}",
        )
    route = rules_of(entry.dialect).route
    data = {} if route is None else {"route": model.route or route(consent is Consent.SAME)}
    order = PurchaseOrder(
        spec, {role: f"{_SOMEWHERE}/{role}" for role in spec.inputs}, model=model.orders_as, dialect_data=data
    )
    try:
        # it opens no socket: what a dialect cannot say is known before anything is promised
        CLIENTS[entry.dialect](entry.base_url, "").create(order)
    except ProviderRefused as no:
        return None, no.message
    seconds = _billed_s(model, spec)
    return Offer(
        *(entry.name, entry.dialect, model.sold, model.orders_as, model.replaces[spec.model], model.source),
        *(math.ceil(per_second * seconds), seconds, resolution, data),
    ), ""


def _billed_s(model: SoldModel, spec: JobSpec) -> float:
    """Seconds as a provider counts them: those that were asked for, and of a clip that is followed its own."""
    known = MODELS.get(spec.model)
    followed = spec.inputs.get(known.follows) if known is not None and known.follows else None
    seconds = spec.frames / spec.fps if followed else max(seconds_word(spec.frames, spec.fps), 0.0)
    if followed is not None and followed.seconds:
        seconds = max(seconds, followed.seconds)
    seconds = max(seconds, model.minimum_s)
    return seconds if model.maximum_s is None else min(seconds, model.maximum_s)
