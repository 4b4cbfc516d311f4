"""Sessions of browsers that signed in to the console with an API key. A session is a random id, known to the browser
alone: Redis keeps its hash, the id of the key and a token that every change must carry. No key is kept.

In Redis: `{p}:session:{sha256 of the id}` a hash {key, csrf, since_ms} that expires when it is not used.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from farm.config import Settings
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys

#: bytes of randomness in an id and in a token
_RANDOM_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class ConsoleSession:
    """`csrf`: what a form must carry, so that no other site's page can send one."""

    id: str
    key_id: str
    csrf: str

    def sent_by_its_page(self, token: str | None) -> bool:
        """Whether `token` is the session's own."""
        return token is not None and hmac.compare_digest(token.encode(), self.csrf.encode())


class ConsoleSessions:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, settings: Settings, *, wall_s: Callable[[], float] = time.time) -> None:
        self._redis, self._limits, self._wall_s = redis, settings.console, wall_s
        self._keys = Keys(settings.redis.prefix)

    def begin(self, key_id: str) -> ConsoleSession:
        """A new session of a key: always a new id, whatever the browser came with."""
        session = ConsoleSession(secrets.token_urlsafe(_RANDOM_BYTES), key_id, secrets.token_urlsafe(_RANDOM_BYTES))
        record: dict[Any, Any] = {"key": key_id, "csrf": session.csrf, "since_ms": int(self._wall_s() * 1000)}
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key(session.id), mapping=record)
            pipe.expire(self._key(session.id), self._limits.session_s)
            pipe.execute()
        return session

    def find(self, session_id: str | None) -> ConsoleSession | None:
        """The session with that id, which lives on from now; None where there is none, or it is too old."""
        if session_id is None or not _ID.fullmatch(session_id):
            return None
        with mapped(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self._key(session_id))
            pipe.expire(self._key(session_id), self._limits.session_s)
            # a full Redis refuses the second; that must put nobody out
            raw = pipe.execute(raise_on_error=False)[0]
            if isinstance(raw, Exception):
                raise raw
        record = cast("dict[str, str]", raw)
        if not record:
            return None
        if self._wall_s() - int(record["since_ms"]) / 1000 > self._limits.session_max_s:
            self.end(session_id)
            return None
        return ConsoleSession(session_id, record["key"], record["csrf"])

    def end(self, session_id: str) -> None:
        """The browser has signed out: its id is of no use any more."""
        with mapped():
            self._redis.delete(self._key(session_id))

    def _key(self, session_id: str) -> str:
        return self._keys("session", hashlib.sha256(session_id.encode()).hexdigest())
