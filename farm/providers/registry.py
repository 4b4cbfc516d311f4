"""The providers of the settings: their entries, and a client per account. The one place that reads a provider's key."""

from collections.abc import Mapping
from dataclasses import dataclass

from farm.config import ProviderSettings, Settings, SoldModelSettings
from farm.jobs.errors import FarmError
from farm.providers.catalog import OWN_IDS, POLLS, SOLD
from farm.providers.entry import Entry, Match, SoldModel
from farm.wire import model_ids
from farm.wire.http import Outbound
from farm.wire.outbound import CLIENTS

_MICRO = 1_000_000
#: of a dialect that nobody has written a schedule for
_POLL_S = (5.0, 30.0)


@dataclass
class KeyMissing(FarmError):
    """An account's secret is not where the settings say. Tells the place, never a secret."""

    provider: str
    key: str
    place: str

    def __str__(self) -> str:
        return f"no key for {self.provider}/{self.key} in {self.place}"


@dataclass
class ProviderSettingsWrong(FarmError):
    """An entry that no provider can be made of."""

    setting: str
    why: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.why}"


class Providers:
    """All providers of the settings. Threads may share one. Raises ProviderSettingsWrong when it is made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.providers
        self.entries: Mapping[str, Entry] = {name: _entry(name, one) for name, one in settings.providers.items()}

    def client_of(self, provider: str, key_name: str) -> Outbound:
        """The client of one account. Raises KeyMissing; KeyError for a name that the settings do not have."""
        entry, source = self._settings[provider], self._settings[provider].keys[key_name]
        key = source.read()
        if key is None:
            raise KeyMissing(provider, key_name, source.place)
        secret = None
        if source.secret is not None:
            secret = source.secret.read()
            if secret is None:
                raise KeyMissing(provider, f"{key_name} (its secret)", source.secret.place)
        return CLIENTS[entry.dialect](entry.base_url, key, secret, entry.upload_url)


def _entry(name: str, one: ProviderSettings) -> Entry:
    if one.dialect not in CLIENTS:
        raise ProviderSettingsWrong(
            f"providers.{name}.dialect", f"{one.dialect!r} is none of {', '.join(sorted(CLIENTS))}"
        )
    first_s, longest_s = POLLS.get(one.dialect, _POLL_S)
    first_s = one.poll_first_s or first_s
    return Entry(
        name=name,
        dialect=one.dialect,
        base_url=one.base_url,
        upload_url=one.upload_url,
        key_names=tuple(one.keys),
        unit_usd=one.unit_usd,
        models=tuple(_sold(name, one.dialect, sold, model) for sold, model in one.models.items()),
        order=one.order,
        rate_per_s=one.rate_per_s,
        rate_burst=one.rate_burst,
        concurrency=one.concurrency,
        poll_first_s=first_s,
        poll_max_s=one.poll_max_s or longest_s,
        timeout_s=one.timeout_s,
        callbacks=one.callbacks,
        enabled=one.enabled,
        slot_s=one.slot_s,
    )


def _sold(provider: str, dialect: str, sold: str, given: SoldModelSettings) -> SoldModel:
    known, meaning = SOLD.get(dialect, {}).get(sold), None
    if model_ids.TABLE.get(dialect):
        meaning = model_ids.meaning(dialect, sold)
    replaces = {model: Match(match) for model, match in given.replaces.items()} or dict(known.replaces if known else {})
    if not replaces and dialect in OWN_IDS:
        replaces = {sold: Match.SAME_WEIGHTS}
    if not replaces:
        raise ProviderSettingsWrong(
            f"providers.{provider}.models.{sold!r}.replaces", "it is not in our catalog, so say what it replaces"
        )
    source = given.source or ("the settings" if given.replaces or known is None else known.source)
    if dialect in OWN_IDS and not given.replaces and not given.source:
        source = "another farm's model of the same name"
    orders_as = given.orders_as or (meaning.model if meaning else sold)
    return SoldModel(
        sold=sold,
        orders_as=orders_as,
        task=meaning.task if meaning else None,
        replaces=replaces,
        source=source,
        per_second={word: round(usd * _MICRO) for word, usd in given.per_second.items()},
        minimum_s=given.minimum_s,
        maximum_s=given.maximum_s,
        route=given.route,
    )
