"""A tenant's LoRAs: taken over from an upload while they are checked, named, found, deleted.
Knows no job's shape and no tensor."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import BinaryIO, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import Conflict, Forbidden, InvalidRequest, NotFound, TooLarge, TooMany, Unavailable
from farm.jobs.ids import is_job_id, new_job_id
from farm.loras.judged import Judged
from farm.loras.lora import NAME, SHA256, LoraLookup, StoredLora, find
from farm.loras.records import Records
from farm.storage.object_keys import is_upload_id, lora_key, upload_key
from farm.storage.store import Store
from models.weights.lora_file import LoraError


class TenantLoras:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(
        self, redis: Redis, store: Store, settings: Settings, *, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._store, self._limits, self._clock_s = store, settings.loras, clock_s
        self._records = Records(redis, settings.redis)
        self._checks = threading.BoundedSemaphore(settings.loras.checks)

    # --- what a tenant does

    def add(self, tenant: str, name: str, upload: str, sha256: str | None = None) -> tuple[StoredLora, bool]:
        """Judge an upload and keep it under the tenant's name for it; whether it is new. Every byte is read once, on
        its way to where only the farm can write: what was judged is what is kept.

        Raises InvalidRequest for what is no LoRA for Wan (nothing is kept then), TooLarge, Conflict (name or file is
        there already), Forbidden (the tenant's room is full), TooMany (too many are judged now).
        """
        if not re.fullmatch(NAME, name) or is_job_id(name):
            raise InvalidRequest("1 to 64 of A-Z, a-z, 0-9, point, - and _, not an id", "name")
        if sha256 is not None and not re.fullmatch(SHA256, sha256):
            raise InvalidRequest("64 lower-case hexadecimal digits", "sha256")
        listed = self._records.of(tenant)
        if before := next((one for one in listed if (one.name, one.upload) == (name, upload) and one.there), None):
            return before, False
        size = self._uploaded(tenant, upload)
        self._check_room(listed, name, size)
        lora_id = new_job_id()
        key = lora_key(tenant, lora_id)
        with self._turn(), closing(self._store.blocks(upload_key(tenant, upload), 0, size)) as blocks:
            reading = Judged(blocks, size, sha256)
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

    def all(self, tenant: str) -> Sequence[StoredLora]:
        """By name."""
        return sorted((one for one in self._records.of(tenant) if one.there), key=lambda one: one.name)

    def find(self, tenant: str, name_or_id: str) -> StoredLora | None:
        """None also for a LoRA of another tenant."""
        return find(self.all(tenant), name_or_id)

    def lookup(self, tenant: str) -> LoraLookup:
        """As find, for many questions: the tenant's LoRAs are read at the first one."""
        listed: list[StoredLora] | None = None

        def look(name_or_id: str) -> StoredLora | None:
            nonlocal listed
            if listed is None:
                listed = list(self.all(tenant))
            return find(listed, name_or_id)

        return look

    def delete(self, tenant: str, name_or_id: str) -> StoredLora:
        """New jobs cannot ask for it from now on. Its bytes are removed once no open job uses it
        (farm.loras.garbage). Raises NotFound."""

        def mark(records: dict[str, StoredLora]) -> dict[str, StoredLora]:
            found = find([one for one in records.values() if one.there], name_or_id)
            if found is None:
                raise NotFound(f"no LoRA {name_or_id[:64]}")
            return {found.id: replace(found, deleted_ms=int(self._clock_s() * 1000))}

        (deleted,) = self._records.change(tenant, mark)
        return deleted

    # --- adding, step by step

    def _uploaded(self, tenant: str, upload: str) -> int:
        """Bytes of what was put to the upload's address."""
        stat = self._store.stat(upload_key(tenant, upload)) if is_upload_id(upload) else None
        if stat is None:
            raise InvalidRequest("no such upload; ask for an address at /v1/uploads and PUT the file there", "upload")
        if stat.size > self._limits.max_bytes:
            raise TooLarge(
                f"{stat.size} bytes are more than the {self._limits.max_bytes} that a LoRA may have", "upload"
            )
        if stat.size == 0:
            raise InvalidRequest("the upload is empty", "upload")
        return stat.size

    def _check_room(self, listed: Sequence[StoredLora], name: str, size: int, sha256: str | None = None) -> None:
        for one in (one for one in listed if one.there):
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

    def _made(self, reading: Judged, lora_id: str, name: str, upload: str) -> StoredLora:
        anatomy = reading.anatomy
        assert anatomy is not None
        return StoredLora(
            id=lora_id,
            name=name,
            sha256=reading.sha256,
            size=reading.size,
            upload=upload,
            rank=anatomy.rank,
            modules=len(anatomy.modules),
            ignored=anatomy.ignored,
            fits=anatomy.fits,
            created_ms=int(self._clock_s() * 1000),
        )

    def _record(self, tenant: str, lora: StoredLora) -> None:
        def add(records: dict[str, StoredLora]) -> dict[str, StoredLora]:
            # looked at again: another call may have been faster
            self._check_room(list(records.values()), lora.name, lora.size, lora.sha256)
            return {lora.id: lora}

        self._records.change(tenant, add)
