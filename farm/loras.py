"""The LoRAs of each tenant: taken over from an upload while they are judged, named by their owner, deleted once no open
job wears them. Knows no job's shape and no tensor.

In Redis: `{p}:loras` the tenants that ever had one, `{p}:loras:{tenant}` a hash id -> JSON record.
"""

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import BinaryIO, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import Conflict, Forbidden, InvalidRequest, NotFound, TooLarge, TooMany, Unavailable
from farm.jobs.ids import is_job_id, new_job_id
from farm.jobs.states import TERMINAL, State
from farm.ledger import Ledger
from farm.ledger.connection import mapped
from farm.store import Store, lora_key, upload_key
from models.lora_file import Anatomy, LoraError, LoraReader

#: a deleted LoRA's bytes stay so long at least: a job that was being submitted meanwhile may wear it
GRACE_S = 600.0
#: bytes without a record are of a check that broke off; a running one takes no longer than this
ORPHAN_S = 86400.0
_OPEN = tuple(state for state in State if state not in TERMINAL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_BLOCK = 1024 * 1024
_PAGE = 200


#: finds one of a tenant's LoRAs by name or id
Wardrobe = Callable[[str], "Lora | None"]


@dataclass(frozen=True)
class Lora:
    """A LoRA that was judged and may be worn.

    upload      the upload that it came from: taking that over once more answers with this LoRA
    rank, modules, ignored, fits    models.lora_file.Anatomy; modules is their number
    deleted_ms  its owner wants it gone: nobody finds it any more, open jobs keep it
    """

    id: str
    name: str
    sha256: str
    size: int
    upload: str
    rank: int
    modules: int
    ignored: int
    fits: tuple[str, ...]
    created_ms: int
    deleted_ms: int | None = None


class Loras:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(
        self, redis: Redis, store: Store, settings: Settings, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._redis, self._store, self._limits = redis, store, settings.loras
        self._prefix = f"{settings.redis.prefix}:loras"
        self._clock_s = clock_s
        self._checks = threading.BoundedSemaphore(settings.loras.checks)

    # --- what a tenant does

    def add(self, tenant: str, name: str, upload: str, sha256: str | None = None) -> tuple[Lora, bool]:
        """Judge an upload and keep it under the tenant's name for it; whether it is new. Every byte is read once, on
        its way to where only the farm can write: what was judged is what is kept.

        Raises InvalidRequest for what is no LoRA for Wan (nothing is kept then), TooLarge, Conflict (name or file is
        there already), Forbidden (the tenant's room is full), TooMany (too many are judged now).
        """
        if not _NAME.fullmatch(name) or is_job_id(name):
            raise InvalidRequest("1 to 64 of A-Z, a-z, 0-9, point, - and _, not an id", "name")
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise InvalidRequest("64 lower-case hexadecimal digits", "sha256")
        listed = self._records(tenant)
        if before := next((one for one in listed if (one.name, one.upload) == (name, upload) and _there(one)), None):
            return before, False
        size = self._uploaded(tenant, upload)
        self._check_room(listed, name, size)
        lora_id = new_job_id()
        key = lora_key(tenant, lora_id)
        with self._turn(), closing(self._store.blocks(upload_key(tenant, upload), 0, size)) as blocks:
            reading = _Judged(blocks, size, sha256)
            try:
                self._store.put_stream(key, cast(BinaryIO, reading), size, "application/octet-stream")
            except LoraError as error:
                raise InvalidRequest(str(error), "upload") from None
        lora = self._made(reading, lora_id, name, upload)
        try:
            self._record(tenant, lora)
        except BaseException:
            with suppress(Unavailable):
                self._store.delete(key)
            raise
        # the record has it: should this fail, the upload is swept like any other
        with suppress(Unavailable):
            self._store.delete(upload_key(tenant, upload))
        return lora, True

    def all(self, tenant: str) -> Sequence[Lora]:
        """By name."""
        return sorted((one for one in self._records(tenant) if _there(one)), key=lambda one: one.name)

    def find(self, tenant: str, name_or_id: str) -> Lora | None:
        """None also for another tenant's."""
        return find(self.all(tenant), name_or_id)

    def wardrobe(self, tenant: str) -> Wardrobe:
        """As find, for many questions: the tenant's LoRAs are read at the first one."""
        listed: list[Lora] | None = None

        def look(name_or_id: str) -> Lora | None:
            nonlocal listed
            if listed is None:
                listed = list(self.all(tenant))
            return find(listed, name_or_id)

        return look

    def delete(self, tenant: str, name_or_id: str) -> Lora:
        """From now on no job can ask for it. Its bytes go once no open job wears it (`sweep`). Raises NotFound."""

        def mark(records: dict[str, Lora]) -> dict[str, Lora]:
            found = find([one for one in records.values() if _there(one)], name_or_id)
            if found is None:
                raise NotFound(f"no LoRA {name_or_id[:64]}")
            return {found.id: replace(found, deleted_ms=self._now_ms())}

        (deleted,) = self._change(tenant, mark)
        return deleted

    # --- keeping house

    def sweep(self, ledger: Ledger) -> int:
        """Remove the bytes of deleted LoRAs that no open job wears, and of checks that broke off; answers how many."""
        with mapped():
            tenants = sorted(cast("set[str]", self._redis.smembers(self._prefix)))
        return sum(self._sweep(tenant, ledger) for tenant in tenants) + self._sweep_orphans()

    def _sweep(self, tenant: str, ledger: Ledger) -> int:
        before_ms = self._now_ms() - int(GRACE_S * 1000)
        gone = [one for one in self._records(tenant) if one.deleted_ms is not None and one.deleted_ms <= before_ms]
        if not gone:
            return 0
        worn = _worn(tenant, ledger)
        free = [one.id for one in gone if one.id not in worn]
        if free:
            self._store.delete(*(lora_key(tenant, lora_id) for lora_id in free))
            with mapped():
                self._redis.hdel(self._of(tenant), *free)
        return len(free)

    def _sweep_orphans(self) -> int:
        after, gone = None, 0
        while True:
            found = self._store.list("loras/", after=after, limit=_PAGE)
            old = [one.key for one in found if one.modified_s < self._clock_s() - ORPHAN_S]
            orphans = [key for key in old if not self._known(key)]
            if orphans:
                self._store.delete(*orphans)
            gone += len(orphans)
            if len(found) < _PAGE:
                return gone
            after = found[-1].key

    def _known(self, key: str) -> bool:
        _, tenant, lora_id = key.split("/", 2)
        with mapped():
            return bool(self._redis.hexists(self._of(tenant), lora_id))

    # --- adding, step by step

    def _uploaded(self, tenant: str, upload: str) -> int:
        """Bytes of what was put to the upload's address."""
        stat = self._store.stat(upload_key(tenant, upload)) if _UPLOAD_ID.fullmatch(upload) else None
        if stat is None:
            raise InvalidRequest("no such upload; ask for an address at /v1/uploads and PUT the file there", "upload")
        if stat.size > self._limits.max_bytes:
            raise TooLarge(
                f"{stat.size} bytes are more than the {self._limits.max_bytes} that a LoRA may have", "upload"
            )
        if stat.size == 0:
            raise InvalidRequest("the upload is empty", "upload")
        return stat.size

    def _check_room(self, listed: Sequence[Lora], name: str, size: int, sha256: str | None = None) -> None:
        for one in filter(_there, listed):
            if one.name == name:
                raise Conflict(f"there is a LoRA {name!r} already; delete it, or choose another name", "name")
            if one.sha256 == sha256:
                raise Conflict(f"this file is here already: {one.name}", "upload")
        if len(listed) >= self._limits.max_count:
            raise Forbidden(f"no more than {self._limits.max_count} LoRAs may be kept; delete one first")
        total = sum(one.size for one in listed) + size
        if total > self._limits.max_total_bytes:
            raise Forbidden(
                f"your LoRAs would take {total} bytes, and {self._limits.max_total_bytes} may be; delete some first"
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._checks.acquire(blocking=False):
            raise TooMany("other LoRAs are being looked at; try again in a moment", retry_after_s=5.0)
        try:
            yield
        finally:
            self._checks.release()

    def _made(self, reading: "_Judged", lora_id: str, name: str, upload: str) -> Lora:
        anatomy = reading.anatomy
        assert anatomy is not None
        return Lora(
            id=lora_id,
            name=name,
            sha256=reading.sha256,
            size=reading.size,
            upload=upload,
            rank=anatomy.rank,
            modules=len(anatomy.modules),
            ignored=anatomy.ignored,
            fits=anatomy.fits,
            created_ms=self._now_ms(),
        )

    def _record(self, tenant: str, lora: Lora) -> None:
        def add(records: dict[str, Lora]) -> dict[str, Lora]:
            # looked at again: another call may have been faster
            self._check_room(list(records.values()), lora.name, lora.size, lora.sha256)
            return {lora.id: lora}

        self._change(tenant, add)

    # --- records

    def _change(self, tenant: str, change: Callable[[dict[str, Lora]], dict[str, Lora]]) -> list[Lora]:
        """Write what `change` makes of the tenant's records, unless they changed meanwhile: then ask it again."""
        made: dict[str, Lora] = {}

        def write(pipe: Redis) -> None:
            made.clear()
            made.update(change(_decoded(cast("dict[str, str]", pipe.hgetall(self._of(tenant))))))
            pipe.multi()  # type: ignore[attr-defined]
            pipe.sadd(self._prefix, tenant)
            pipe.hset(self._of(tenant), mapping={one.id: json.dumps(asdict(one)) for one in made.values()})

        with mapped():
            self._redis.transaction(write, self._of(tenant))
        return list(made.values())

    def _records(self, tenant: str) -> Sequence[Lora]:
        with mapped():
            raw = cast("dict[str, str]", self._redis.hgetall(self._of(tenant)))
        return list(_decoded(raw).values())

    def _of(self, tenant: str) -> str:
        return f"{self._prefix}:{tenant}"

    def _now_ms(self) -> int:
        return int(self._clock_s() * 1000)


def find(listed: Sequence[Lora], name_or_id: str) -> Lora | None:
    return next((one for one in listed if name_or_id in (one.name, one.id)), None)


@dataclass
class _Judged(io.RawIOBase):
    """A file on its way from block to block, judged as it passes. Its last bytes come only when all of it is good."""

    blocks: Iterator[bytes]
    size: int
    expected: str | None
    anatomy: Anatomy | None = None
    sha256: str = ""
    _left: bytes = b""
    _passed: int = 0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self._reader = LoraReader(self.size)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            self._left = self._next()
        taken, self._left = self._left[: size if size >= 0 else None], self._left[size if size >= 0 else _BLOCK :]
        return taken

    def _next(self) -> bytes:
        if self._passed == self.size:
            return b""
        block = next(self.blocks, b"")
        self._passed += len(block)
        if not block or self._passed > self.size:
            raise Unavailable("the upload changed while it was read; try again")
        self._digest.update(block)
        self._reader.feed(block)
        if self._passed == self.size:
            self.anatomy = self._reader.done()
            self.sha256 = self._digest.hexdigest()
            if self.expected is not None and self.sha256 != self.expected:
                raise LoraError(f"its sha256 is {self.sha256}: what arrived is not what was sent; upload it again")
        return block


def _there(lora: Lora) -> bool:
    return lora.deleted_ms is None


def _decoded(raw: dict[str, str]) -> dict[str, Lora]:
    found = {}
    for lora_id, text in raw.items():
        values = json.loads(text)
        found[lora_id] = Lora(**{**values, "fits": tuple(values["fits"])})
    return found


def _worn(tenant: str, ledger: Ledger) -> set[str]:
    """Ids of the LoRAs that the tenant's open jobs wear."""
    worn: set[str] = set()
    cursor = None
    while True:
        page = ledger.page(tenant, states=_OPEN, cursor=cursor, limit=_PAGE)
        worn |= {str(lora["id"]) for job in page.jobs for lora in job.spec.loras if "id" in lora}
        if page.cursor is None:
            return worn
        cursor = page.cursor
