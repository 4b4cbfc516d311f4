"""Settings of the providers that jobs may be bought from. Secrets do not stand here, only where they are."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from farm.config.section import Section

#: a name in keys of Redis and in labels of metrics
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class SecretSource(Section):
    """Where a secret is: in an environment variable or in a file, of which only the farm's user should be able to
    read it."""

    env: str | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("name either env or file")
        return self

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"the environment variable {self.env}" if self.env else f"the file {self.file}"

    def read(self) -> str | None:
        """The secret now; None where there is none."""
        if self.env is not None:
            return os.environ.get(self.env, "").strip() or None
        assert self.file is not None
        try:
            return self.file.read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None


class KeySettings(SecretSource):
    """One account with a provider."""

    #: a second secret, where requests are signed with one (wiro)
    secret: SecretSource | None = None


class SoldModelSettings(Section):
    """One model of a provider, under the provider's own name for it."""

    #: resolution word -> US dollars per second of video. A resolution without a price is not bought
    per_second: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    #: seconds that are billed at least and at most
    minimum_s: float = Field(default=0.0, ge=0)
    maximum_s: float | None = Field(default=None, gt=0)
    #: models of our catalog that it may replace -> how near it is. Empty: as farm/providers/catalog.py has it
    replaces: dict[str, Literal["same_weights", "same_family", "substitute"]] = Field(default_factory=dict)
    #: where `replaces` is from
    source: str | None = None
    #: the model of our catalog that the order is written as, where the dialect's own table does not say it
    orders_as: str | None = None
    #: apixo's `provider`: auto, value or official; left out, it follows from what the job allows
    route: Literal["auto", "value", "official"] | None = None


class ProviderSettings(Section):
    """One provider, `[providers.NAME]`. One of a known dialect is configuration only."""

    #: as in farm/wire/outbound: kie, apixo, crun, wiro, selfhosted, openai, farm
    dialect: str
    base_url: str = Field(pattern=r"^https?://")
    #: where files go, if to another host
    upload_url: str | None = Field(default=None, pattern=r"^https?://")
    enabled: bool = True
    #: accounts, by a name of the operator's
    keys: dict[Name, KeySettings] = Field(default_factory=dict)
    #: US dollars of one unit of the provider's money, for what it says about costs and balances
    unit_usd: float | None = Field(default=None, gt=0)
    models: dict[str, SoldModelSettings] = Field(default_factory=dict)
    #: among offers of one price class, the lower first
    order: int = 100
    #: submissions per second and account, on average, and how many may come at once
    rate_per_s: float = Field(default=1.0, gt=0)
    rate_burst: int = Field(default=5, ge=1)
    #: jobs that are open there at once, per account
    concurrency: int = Field(default=20, ge=1)
    #: pauses between two questions about a job: the first and the longest, s. None: what suits the dialect
    poll_first_s: float | None = Field(default=None, gt=0)
    poll_max_s: float | None = Field(default=None, gt=0)
    #: one HTTP exchange
    timeout_s: float = Field(default=30.0, gt=0)
    #: name a callback address in orders, where the dialect has callbacks
    callbacks: bool = True
    #: a job that was not over after this long no longer counts against `concurrency`
    slot_s: float = Field(default=6 * 3600.0, gt=0)


class ProviderHealthSettings(Section):
    """How the farm judges providers and slows down for them, `[provider_health]`."""

    #: what was seen counts half after this long
    half_life_s: float = Field(default=1800.0, gt=0)
    #: a breaker opens when a provider fails this much more often than the median of its peers (a share of its jobs) ...
    worse_by: float = Field(default=0.4, gt=0, le=1)
    #: ... or this often, where no peer has been asked lately
    alone_above: float = Field(default=0.8, gt=0, le=1)
    #: and when it was asked so many times, decayed
    least_asked: float = Field(default=4.0, gt=0)
    #: an open breaker lets one job through after this long
    probe_after_s: float = Field(default=60.0, gt=0)
    #: after the last 429 the lowered rate is held so long, then raised by a tenth of the full rate per raise_every_s
    held_s: float = Field(default=60.0, ge=0)
    raise_every_s: float = Field(default=30.0, gt=0)
    #: a shortage without a Retry-After: an empty account, maintenance, a refused key, s
    no_credit_s: float = Field(default=600.0, gt=0)
    away_s: float = Field(default=60.0, gt=0)
    bad_key_s: float = Field(default=3600.0, gt=0)
    #: a Retry-After is believed up to this
    longest_pause_s: float = Field(default=3600.0, gt=0)
