"""Files of requests that clients send before they ask for a batch. Their bytes are uploads like any others, and go as
those do; here is what they are called."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import NotFound
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.storage.object_keys import upload_key
from farm.storage.store import Store
from farm.storage.uploads import UPLOAD_TTL_S, UploadStore

_FILE = "file-"


@dataclass(frozen=True)
class RequestsFile:
    """A file of requests. Times are seconds since the epoch; size: bytes."""

    id: str
    name: str
    size: int
    created_s: int
    expires_s: int

    @property
    def upload(self) -> str:
        """The id of the upload that has its bytes."""
        return self.id.removeprefix(_FILE)


class RequestsFiles:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(
        self,
        redis: Redis,
        store: Store,
        uploads: UploadStore,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis, self._store, self._uploads = redis, store, uploads
        self._keys, self._clock = Keys(settings.redis.prefix), clock

    def keep(self, tenant: str, name: str, data: BinaryIO, size: int) -> RequestsFile:
        """Raises Forbidden when the tenant's room is full."""
        upload, now_s = self._uploads.keep(tenant, name, data, size, "application/jsonl"), int(self._clock())
        kept = RequestsFile(_FILE + upload.id, upload.name, size, now_s, now_s + UPLOAD_TTL_S)
        with mapped():
            self._redis.hset(self._keys("batch_files", tenant), kept.id, json.dumps(asdict(kept)))
        return kept

    def get(self, tenant: str, file_id: str) -> RequestsFile:
        """A file of the tenant's. Raises NotFound, also when it has expired."""
        with mapped():
            text = cast("str | None", self._redis.hget(self._keys("batch_files", tenant), file_id[:128]))
        found = None if text is None else RequestsFile(**json.loads(text))
        if found is None or found.expires_s <= self._clock():
            raise NotFound(f"no file {file_id[:64]}: files are kept for {UPLOAD_TTL_S // 86400} days")
        return found

    def all(self, tenant: str) -> list[RequestsFile]:
        """The tenant's files, newest first. Those that have expired are removed from the list."""
        key = self._keys("batch_files", tenant)
        with mapped():
            texts = cast("dict[str, str]", self._redis.hgetall(key))
        found = [RequestsFile(**json.loads(text)) for text in texts.values()]
        if over := [one.id for one in found if one.expires_s <= self._clock()]:
            with mapped():
                self._redis.hdel(key, *over)
        return sorted((one for one in found if one.id not in over), key=lambda one: one.id, reverse=True)

    def delete(self, tenant: str, file_id: str) -> None:
        """Remove the file and its bytes. Raises NotFound."""
        found = self.get(tenant, file_id)
        self._store.delete(upload_key(tenant, found.upload))
        with mapped():
            self._redis.hdel(self._keys("batch_files", tenant), found.id)

    def blocks(self, tenant: str, file: RequestsFile) -> Iterator[bytes]:
        """The file's bytes, read from the store as the caller takes them."""
        return self._store.blocks(upload_key(tenant, file.upload), 0, file.size)

    def read(self, tenant: str, file: RequestsFile, out: BinaryIO, limit: int) -> None:
        """Append its bytes to an open file. Raises NotFound, TooLarge."""
        self._store.read(upload_key(tenant, file.upload), out, limit)
