"""Rate control. One Lua script per act, so that every process of the farm shares one view of each account: a limit per
process would be multiplied by their number. The scripts' keys are farm.ledger.keys.PROVIDERS."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any

from redis import Redis
from redis.commands.core import Script

from farm.config import Settings
from farm.jobs.purchase import PurchaseState
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.providers.entry import Entry
from farm.wire.http import Why

#: a busy provider that names no time is left alone for one turn at the lowered rate, but not longer than this, s
_BUSY_MOST_S = 30.0
_WORDS_MOST = 200
_ACCOUNT_FIELDS = 7
#: exchanges with a provider that may come between a slot and its purchase: inputs handed over, and an estimate
_EXCHANGES_BEFORE = 5


class Holdup(StrEnum):
    """Why a submission has to wait."""

    PAUSED = "paused"  # by an operator
    AWAY = "away"  # the provider cannot serve now
    BREAKER = "breaker"  # it failed more than its peers
    BUSY = "busy"  # it said 429
    CREDIT = "credit"  # the account there is empty
    KEY = "key"  # the key is refused, or there is none
    CONCURRENCY = "concurrency"
    RATE = "rate"


#: what all jobs share: it costs none of them a retry, and an operator sees it
SHORTAGES = frozenset({Holdup.PAUSED, Holdup.AWAY, Holdup.BREAKER, Holdup.CREDIT, Holdup.KEY, Holdup.BUSY})


@dataclass(frozen=True)
class Taken:
    """One submission may go out, with this key. `probe`: it is the one that an open breaker lets through."""

    key: str
    probe: bool = False


@dataclass(frozen=True)
class Wait:
    """Nothing was taken. `seconds`: until it may be worth asking again; `words` are the provider's own."""

    seconds: float
    why: Holdup
    words: str = ""

    def __str__(self) -> str:
        said = f": {self.words}" if self.words else ""
        return f"{self.why} for {self.seconds:.0f} s{said}"


@dataclass(frozen=True)
class AccountState:
    """One key. `parked_s`: for how long it is not asked; `cap`: what is left of its full rate; `slots`: the most that
    may be open there at once now."""

    key: str
    parked_s: float
    why: str
    words: str
    cap: float
    slots: int
    in_use: int


@dataclass(frozen=True)
class ProviderState:
    """`paused`: by an operator. `away_s`: for how long it cannot serve; `breaker_open`, and when it is probed. `asked`
    and `failed` are decayed."""

    name: str
    paused: bool
    away_s: float
    away_words: str
    breaker_open: bool
    probe_s: float
    asked: float
    failed: float
    accounts: tuple[AccountState, ...]

    @property
    def shortage(self) -> Holdup | None:
        """Why nothing is bought there now; None when it may be."""
        if self.paused:
            return Holdup.PAUSED
        if self.away_s > 0:
            return Holdup.AWAY
        if self.breaker_open:
            return Holdup.BREAKER
        return Holdup(self._first.why) if self._first else None

    @property
    def parked(self) -> str | None:
        """The same in words, with the time."""
        match self.shortage:
            case None:
                return None
            case Holdup.PAUSED:
                return "paused by an operator"
            case Holdup.AWAY:
                return f"away for {self.away_s:.0f} s: {self.away_words or 'it cannot serve'}"
            case Holdup.BREAKER:
                return f"it fails more than its peers; asked again in {self.probe_s:.0f} s"
        assert self._first is not None
        return f"{self._first.why} for {self._first.parked_s:.0f} s: {self._first.words or 'no account can be used'}"

    @property
    def _first(self) -> AccountState | None:
        """The account that can be used first, where all are parked."""
        if not self.accounts or any(one.parked_s <= 0 for one in self.accounts):
            return None
        return min(self.accounts, key=lambda one: one.parked_s)


@dataclass(frozen=True)
class Learned:
    """Of one provider's model, decayed. `failure`: part of its jobs; `failed_cost`: part of its price that one of those
    came to; `seconds`: that one takes; `weight`: how many jobs that is known from. `busy_wait_s`: what the provider's
    429s cost a job of any model on average."""

    failure: float
    seconds: float | None
    busy_wait_s: float
    weight: float
    failed_cost: float = 0.0


class Gate:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(
        self, redis: Redis, settings: Settings, entries: Mapping[str, Entry], *, clock: str | None = None
    ) -> None:
        """`clock`: a Lua text that defines NOW, for tests; otherwise it is the server's."""
        self._redis, self._entries = redis, entries
        self._keys = Keys(settings.redis.prefix)
        self._health, self._lease_s = settings.provider_health, settings.lease.seconds
        self._clock = clock
        self._scripts: dict[str, Script] = {}

    def take(self, provider: str, key: str | None, holder: str) -> Taken | Wait:
        """A place for one submission, or none at all. `holder`: the nonce of its purchase, which has to begin within a
        lease and a few exchanges, or the slot is free again. `key` None: the one with most room. Said again, it is the
        same place."""
        entry = self._entries[provider]
        keys = entry.key_names if key is None else (key,)
        numbers = (entry.rate_per_s, entry.rate_burst, entry.concurrency, *self._terms(entry))
        done, *answer = self._run("take", provider, holder, *numbers, *keys)
        if done:
            return Taken(answer[0], bool(answer[1]))
        return Wait(answer[0] / 1000, Holdup(answer[1]), answer[2])

    def give(self, provider: str, key: str, holder: str) -> None:
        """The job is over there, or was not sent: its slot is free. May be said twice."""
        self._run("give", provider, key, holder)

    def went(
        self,
        provider: str,
        model: str,
        *,
        ok: bool,
        holder: str = "",
        seconds: float | None = None,
        lost: float = 0.0,
    ) -> bool:
        """What became of a job there; `ok` False only where it was the provider's fault. `seconds`: from the submission
        to its end; `lost`: part of its price that one that failed came to. True when the breaker is open now."""
        peers = [name for name in self._entries if name != provider]
        took = "" if seconds is None else seconds
        return bool(self._run("went", provider, model, int(ok), took, lost, holder, *peers) == "open")

    def penalise(self, provider: str, key: str, why: Why, retry_after_s: float | None, words: str = "") -> float:
        """A refusal that is no fault of the job's: BUSY, CREDIT, KEY, AWAY. Seconds in which nobody asks; 0 for any
        other refusal."""
        health, entry = self._health, self._entries[provider]
        usual = {
            Why.BUSY: min(_BUSY_MOST_S, 2 / entry.rate_per_s),
            Why.CREDIT: health.no_credit_s,
            Why.KEY: health.bad_key_s,
            Why.AWAY: health.away_s,
        }
        if why not in usual:
            return 0.0
        pause_s = min(health.longest_pause_s, usual[why] if retry_after_s is None else max(0.0, retry_after_s))
        self._run("penalise", provider, key, why, int(pause_s * 1000), words[:_WORDS_MOST], *self._terms(entry))
        return pause_s

    def state(self, provider: str) -> ProviderState:
        """How it stands with a provider now."""
        entry = self._entries[provider]
        paused, away, words, opened, probe, asked, failed, keys, now = self._run(
            "state", provider, entry.concurrency, *self._terms(entry), *entry.key_names
        )
        rows = [keys[n : n + _ACCOUNT_FIELDS] for n in range(0, len(keys), _ACCOUNT_FIELDS)]
        return ProviderState(
            name=provider,
            paused=bool(paused),
            away_s=max(0.0, (away - now) / 1000),
            away_words=words,
            breaker_open=bool(opened),
            probe_s=max(0.0, (probe - now) / 1000),
            asked=float(asked),
            failed=float(failed),
            accounts=tuple(
                AccountState(key, max(0.0, (until - now) / 1000), why, said, float(cap), int(slots), int(in_use))
                for key, until, why, said, cap, slots, in_use in rows
            ),
        )

    def states(self) -> list[ProviderState]:
        """Of all providers of the settings."""
        return [self.state(name) for name in self._entries]

    def learned(self, provider: str, model: str) -> Learned:
        """What is known of a provider's model."""
        asked, failed, lost, seconds, waited = self._run("learned", provider, model)
        weight = float(asked)
        return Learned(
            failure=float(failed) / weight if weight > 0 else 0.0,
            seconds=float(seconds) if seconds else None,
            busy_wait_s=float(waited),
            failed_cost=float(lost),
            weight=weight,
        )

    def _terms(self, entry: Entry) -> tuple[int, int]:
        """ms that a slot counts without a purchase, and with one at the longest."""
        unbound_s = self._lease_s + _EXCHANGES_BEFORE * entry.timeout_s
        return int(min(unbound_s, entry.slot_s) * 1000), int(entry.slot_s * 1000)

    def _run(self, name: str, *args: str | int | float) -> Any:
        script = self._scripts.get(name)
        if script is None:
            folder = resources.files("farm.providers") / "lua"
            parts = (
                self._clock or _clock(),
                self._numbers(),
                *(folder.joinpath(f).read_text() for f in ("lib.lua", f"{name}.lua")),
            )
            script = self._scripts[name] = self._redis.register_script(self._keys.filled_in("\n".join(parts)))
        with mapped():
            return script(args=args)

    def _numbers(self) -> str:
        health = self._health
        numbers = {
            "HALF_LIFE_MS": health.half_life_s * 1000,
            "WORSE_BY": health.worse_by,
            "ALONE_ABOVE": health.alone_above,
            "LEAST_ASKED": health.least_asked,
            "PROBE_MS": health.probe_after_s * 1000,
            "HELD_MS": health.held_s * 1000,
            "RAISE_MS": health.raise_every_s * 1000,
            "OPEN": PurchaseState.OPEN.value,
        }
        return f"local {', '.join(numbers)} = {', '.join(map(repr, numbers.values()))}"


def _clock() -> str:
    return (resources.files("farm.ledger") / "lua" / "lib" / "clock.lua").read_text()
