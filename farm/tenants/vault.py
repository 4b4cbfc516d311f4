"""Secrets of tenants, encrypted at rest: webhook signing keys and secrets of API keys that sign. Knows no job,
no HTTP.

In Redis: `{p}:secrets:{tenant}` a hash of name -> Fernet token. The key is settings.secrets.key, else a file made once
in the state folder; whoever has Redis' file alone has no secret.
"""

import os
import secrets
import threading
import time
from pathlib import Path
from typing import cast

from cryptography.fernet import Fernet, InvalidToken
from redis import Redis

from farm.config import Settings
from farm.jobs.errors import FarmError
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys

#: names of secrets; a dialect that signs in its own way names its own (farm.wire.dialects.CallbackKey)
WEBHOOK, WEBHOOK_BEFORE = "webhook", "webhook-before"
#: a secret once read is trusted this long by a process
_CACHE_S = 10.0


def signing(key_id: str) -> str:
    """The name of the secret that requests with an API key are signed with: a key that has one must sign."""
    return f"signing:{key_id}"


class WrongKey(FarmError):
    """A secret that this farm's key does not open."""


class Vault:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._keys = Keys(settings.redis.prefix)
        self._settings = settings
        self._fernet: Fernet | None = None
        self._seen: dict[tuple[str, str], tuple[float, str | None]] = {}
        self._lock = threading.Lock()

    def get(self, tenant: str, name: str) -> str | None:
        """Asks Redis once in ten seconds and process. Raises WrongKey."""
        now = time.monotonic()
        known = self._seen.get((tenant, name))
        if known is not None and now < known[0]:
            return known[1]
        with mapped():
            token = cast("str | None", self._redis.hget(self._key(tenant), name))
        text = None if token is None else self._open(token, tenant, name)
        with self._lock:
            if len(self._seen) > 4096:
                self._seen.clear()
            self._seen[(tenant, name)] = (now + _CACHE_S, text)
        return text

    def set(self, tenant: str, name: str, text: str) -> None:
        """Encrypt and keep a secret under a name. Other processes see it within ten seconds."""
        with mapped():
            self._redis.hset(self._key(tenant), name, self._cipher().encrypt(text.encode()).decode())
        self._seen.pop((tenant, name), None)

    def delete(self, tenant: str, name: str) -> bool:
        """Remove a secret; False when there was none."""
        with mapped():
            gone = self._redis.hdel(self._key(tenant), name)
        self._seen.pop((tenant, name), None)
        return bool(gone)

    def names(self, tenant: str) -> list[str]:
        """Names of the tenant's secrets, in order."""
        with mapped():
            return sorted(cast("list[str]", self._redis.hkeys(self._key(tenant))))

    def get_or_make(self, tenant: str, name: str, fresh: str) -> str:
        """The secret, or `fresh` where there was none; two callers at once get the same."""
        found = self.get(tenant, name)
        if found is not None:
            return found
        with mapped():
            self._redis.hsetnx(self._key(tenant), name, self._cipher().encrypt(fresh.encode()).decode())
        self._seen.pop((tenant, name), None)
        made = self.get(tenant, name)
        assert made is not None
        return made

    def _open(self, token: str, tenant: str, name: str) -> str:
        try:
            return self._cipher().decrypt(token.encode()).decode()
        except InvalidToken:
            raise WrongKey(f"the secret {name!r} of {tenant} was encrypted with another key (secrets.key)") from None

    def _cipher(self) -> Fernet:
        if self._fernet is None:
            self._fernet = Fernet(self._settings.secrets.key or _key_file(self._settings.state_dir))
        return self._fernet

    def _key(self, tenant: str) -> str:
        return self._keys("secrets", tenant)


def _key_file(state_dir: Path) -> str:
    """The key in the state folder. Made complete under another name and then linked: of two makers one wins."""
    path = state_dir / "secrets.key"
    if not path.exists():
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".secrets.{secrets.token_hex(8)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(Fernet.generate_key())
                out.flush()
                os.fsync(out.fileno())
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="ascii").strip()
