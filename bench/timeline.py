"""Which moments of a job Redis saw: the farm's scripts and messages, and the bare tasks', in the feed of a Monitor."""

import hashlib
from collections.abc import Iterable, Sequence

from bench.bare import RAN
from bench.local_farm import LocalFarm
from farm.claiming.celery_app import pool_queue
from farm.ledger.scripts import lua_settings, source

#: (seconds, which): admit, permit, claim, commit of the farm; "bare sent", "bare ran"
Moment = tuple[float, str]
_SCRIPTS = ("admit", "claim", "commit")


class Timeline:
    def __init__(self, farm: LocalFarm) -> None:
        constants = tuple(lua_settings(farm.settings).items())
        texts = {name: source(name, farm.settings.redis.prefix, constants) for name in _SCRIPTS}
        self._scripts = {hashlib.sha1(text.encode()).hexdigest(): name for name, text in texts.items()}
        self._pool = farm.settings.worker.pool
        self._queue = f"{farm.settings.redis.prefix}:celery:{pool_queue(self._pool)}"

    def moments(self, commands: Iterable[tuple[float, int, str]]) -> list[Moment]:
        return [(at, what) for at, database, line in commands if (what := self._what(database, line))]

    def _what(self, database: int, line: str) -> str | None:
        words = line.split(" ", 6)
        match words[0].upper():
            case "EVALSHA":
                return self._script(words)
            case "LPUSH" if database == 1 and words[1] == self._queue:
                return "permit"
            case "LPUSH" if database == 2:
                return "bare ran" if words[1] == RAN else "bare sent"
        return None

    def _script(self, words: Sequence[str]) -> str | None:
        name = self._scripts.get(words[1])
        if name == "claim" and words[3] != self._pool:
            return None  # the io worker claims too, in the pool of intake
        return name


def spans_ms(moments: Sequence[Moment], begin: str, end: str) -> list[float]:
    """Milliseconds from each `begin` to the first `end` after it."""
    spans: list[float] = []
    since: float | None = None
    for at, what in moments:
        if what == begin:
            since = at
        elif what == end and since is not None:
            spans.append((at - since) * 1000)
            since = None
    return spans
