"""API keys: made, revoked, and whose a given one is. Only a hash of the secret is kept.

In Redis: `{p}:tenant:{id}:keys` the ids of a tenant's keys, `{p}:key:{id}` a hash without the secret, `{p}:keys:used`
key id -> last day of use.
"""

import hashlib
import hmac
import re
import secrets
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis import Redis
from redis.client import Pipeline

from farm.config import Settings
from farm.jobs.errors import InvalidRequest, NotFound
from farm.jobs.roles import Role
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.ledger.operations import Actor, add_operation

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#: characters of the public key id (it finds the record) and of the secret behind it: 28 x log2(62) = 166 bits
_ID_CHARS, _SECRET_CHARS, _CRC_CHARS = 8, 28, 6
_KEY = re.compile(
    rf"wf_[a-z]{{1,8}}_([0-9A-Za-z]{{{_ID_CHARS}}})[0-9A-Za-z]{{{_SECRET_CHARS}}}_[0-9A-Za-z]{{{_CRC_CHARS}}}"
)
#: crun's clients take no other key than `ak_` and 32 letters or digits: a secret of 18 characters, 107 bits
_AK_SECRET_CHARS = 32 - _ID_CHARS - _CRC_CHARS
_AK_KEY = re.compile(rf"ak_([0-9A-Za-z]{{{_ID_CHARS}}})[0-9A-Za-z]{{{_AK_SECRET_CHARS}}}[0-9A-Za-z]{{{_CRC_CHARS}}}")
#: verdicts remembered per process, apart for good and bad keys, so that guesses cannot push out what is in use
_REMEMBERED = 4096


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret. `shown` is the part that may be seen: prefix, environment and id."""

    id: str
    tenant: str
    role: Role
    shown: str
    name: str
    created_ms: int
    last_used: str | None = None


@dataclass(frozen=True)
class Principal:
    """Who a request speaks for. `paced`: its tenant has a request rate, so submissions are counted."""

    tenant: str
    role: Role
    key_id: str
    paced: bool = False


class ApiKeys:
    """`redis` decodes responses. `existing` returns a tenant or raises NotFound. Every call may raise Unavailable.
    Threads may share one."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        existing: Callable[[str], object],
        *,
        wall_s: Callable[[], float] = time.time,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._names = Keys(settings.redis.prefix)
        self._ttl_s = settings.gateway.key_cache_s
        self._existing = existing
        self._wall_s, self._mono_s = wall_s, mono_s
        self._good, self._bad = _Memory(), _Memory()

    def create(
        self,
        tenant_id: str,
        *,
        role: Role | str = Role.MEMBER,
        name: str = "",
        env: str = "live",
        ak: bool = False,
        by: Actor | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown here and never again. A tenant may have any number of live keys. `ak`:
        of the form that crun's clients check for; it is good in every dialect. `by`: who does it, for the log."""
        self._existing(tenant_id)
        try:
            role = Role(role)
        except ValueError:
            raise InvalidRequest(f"one of {', '.join(Role)}", "role") from None
        if not re.fullmatch(r"[a-z]{1,8}", env):
            raise InvalidRequest("1 to 8 of a-z", "env")
        text = new_ak_key() if ak else new_key(env)
        key_id = _key_id(text)
        shown = text[: text.index(key_id) + _ID_CHARS]
        key = ApiKey(key_id, tenant_id, role, shown, name, int(self._wall_s() * 1000))
        record: dict[Any, Any] = {field: value for field, value in asdict(key).items() if field != "last_used"}
        with mapped(), self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key(key_id), mapping={**record, "sha256": _digest(text)})
            pipe.sadd(self._keys(tenant_id), key_id)
            self._note(pipe, by, "key made", key, after=role)
            pipe.execute()
        return key, text

    def of(self, tenant_id: str) -> Sequence[ApiKey]:
        """Oldest first."""
        self._existing(tenant_id)
        with mapped():
            ids = sorted(cast("set[str]", self._redis.smembers(self._keys(tenant_id))))
            records = [cast("dict[str, str]", self._redis.hgetall(self._key(key_id))) for key_id in ids]
            used = cast("list[str | None]", self._redis.hmget(self._used, ids)) if ids else []
        found = [_loaded_key(raw, day) for raw, day in zip(records, used, strict=True) if raw]
        return sorted(found, key=lambda key: (key.created_ms, key.id))

    def revoke(self, key_id: str, *, by: Actor | None = None) -> None:
        """Effective everywhere within gateway.key_cache_s. Raises NotFound."""
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._key(key_id)))
            if not raw:
                raise NotFound(f"no key {key_id!r}")
            key = _loaded_key(raw, None)
            # no transaction: a full Redis refuses those, and would keep a key that was revoked
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.delete(self._key(key_id))
                pipe.srem(self._keys(key.tenant), key_id)
                pipe.hdel(self._used, key_id)
                self._note(pipe, by, "key revoked", key, before=key.role)
                pipe.execute()
        self._good.clear()

    def authenticate(self, text: str | None) -> Principal | None:
        """Whose key `text` is; None when it is nobody's. Asks Redis once per gateway.key_cache_s and process."""
        if not text or not well_formed(text):
            return None
        digest, now = _digest(text), self._mono_s()
        if (known := self._good.get(digest, now) or self._bad.get(digest, now)) is not None:
            return known[0]
        principal = self._look_up(text, digest)
        (self._bad if principal is None else self._good).put(digest, principal, now + self._ttl_s)
        return principal

    def holder(self, key_id: str) -> Principal | None:
        """Whose key has this id, while there is such a key. Asks Redis as rarely as `authenticate`."""
        mark, now = f"id {key_id}", self._mono_s()
        if (known := self._good.get(mark, now) or self._bad.get(mark, now)) is not None:
            return known[0]
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._key(key_id)))
            paced = bool(raw) and bool(self._redis.hexists(self._tenant(raw["tenant"]), "rate_per_minute"))
        principal = Principal(raw["tenant"], Role(raw["role"]), key_id, paced) if raw else None
        (self._bad if principal is None else self._good).put(mark, principal, now + self._ttl_s)
        return principal

    def _look_up(self, text: str, digest: str) -> Principal | None:
        key_id = _key_id(text)
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._key(key_id)))
            if not hmac.compare_digest(raw.get("sha256", ""), digest):
                return None
            tenant = raw["tenant"]
            with self._redis.pipeline(transaction=False) as pipe:
                # a hash of its own: written into the key's record it could revive one that was just revoked
                pipe.hset(self._used, key_id, time.strftime("%Y-%m-%d", time.gmtime(self._wall_s())))
                pipe.hexists(self._tenant(tenant), "rate_per_minute")
                # a full Redis does not write when it was used; that must keep nobody out
                paced = pipe.execute(raise_on_error=False)[1]
                if isinstance(paced, Exception):
                    raise paced
        return Principal(tenant, Role(raw["role"]), key_id, bool(paced))

    def _note(
        self, pipe: Pipeline, by: Actor | None, act: str, key: ApiKey, *, before: str = "", after: str = ""
    ) -> None:
        if by is not None:
            at_ms, target = int(1000 * self._wall_s()), f"key {key.id} of {key.tenant}"
            add_operation(pipe, self._names, by, at_ms=at_ms, act=act, target=target, before=before, after=after)

    @property
    def _used(self) -> str:
        return self._names("keys_used")

    def _tenant(self, tenant_id: str) -> str:
        return self._names("tenant", tenant_id)

    def _keys(self, tenant_id: str) -> str:
        return self._names("tenant_keys", tenant_id)

    def _key(self, key_id: str) -> str:
        return self._names("api_key", key_id)


def new_key(env: str = "live") -> str:
    """`wf_<env>_<id><secret>_<crc>`: the prefix lets scanners find a leaked one, the checksum lets typos be refused
    without asking anybody."""
    body = f"wf_{env}_" + "".join(secrets.choice(_BASE62) for _ in range(_ID_CHARS + _SECRET_CHARS))
    return f"{body}_{_checksum(body)}"


def new_ak_key() -> str:
    """`ak_<id><secret><crc>`, 35 characters."""
    body = "ak_" + "".join(secrets.choice(_BASE62) for _ in range(_ID_CHARS + _AK_SECRET_CHARS))
    return body + _checksum(body)


def well_formed(text: str) -> bool:
    """Whether `text` could be a key of ours."""
    if _AK_KEY.fullmatch(text):
        return text[-_CRC_CHARS:] == _checksum(text[:-_CRC_CHARS])
    return _KEY.fullmatch(text) is not None and text[-_CRC_CHARS:] == _checksum(text[: -_CRC_CHARS - 1])


def _key_id(text: str) -> str:
    match = _KEY.fullmatch(text) or _AK_KEY.fullmatch(text)
    assert match is not None
    return match[1]


def _checksum(body: str) -> str:
    rest, out = zlib.crc32(body.encode()), ""
    for _ in range(_CRC_CHARS):
        rest, digit = divmod(rest, 62)
        out = _BASE62[digit] + out
    return out


def _digest(text: str) -> str:
    # a slow hash would add nothing: the text is random, not a password
    return hashlib.sha256(text.encode()).hexdigest()


def _loaded_key(raw: Mapping[str, str], last_used: str | None) -> ApiKey:
    return ApiKey(
        raw["id"], raw["tenant"], Role(raw["role"]), raw["shown"], raw["name"], int(raw["created_ms"]), last_used
    )


class _Memory:
    """A bounded map from a key's digest to a verdict, with expiry; the oldest entry goes first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str, now: float) -> tuple[Principal | None] | None:
        """None: not known. The verdict comes in a tuple, because None is one."""
        entry = self._entries.get(digest)
        return (entry[1],) if entry is not None and now < entry[0] else None

    def put(self, digest: str, verdict: Principal | None, until: float) -> None:
        with self._lock:
            self._entries[digest] = (until, verdict)
            self._entries.move_to_end(digest)
            while len(self._entries) > _REMEMBERED:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
