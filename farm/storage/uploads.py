"""Files that clients hand over before they submit: kept under an id, found again by their name, unchecked until a job
names them. Knows no dialect."""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.ids import new_job_id
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.storage.object_keys import upload_key
from farm.storage.store import Store

#: an upload can be named for so long
UPLOAD_TTL_S = 3 * 86400


@dataclass(frozen=True)
class Upload:
    """`url` reads the file, for as long as it can be named."""

    id: str
    name: str
    size: int
    content_type: str
    url: str


class UploadStore:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, store: Store, settings: Settings) -> None:
        self._redis, self._store = redis, store
        self._keys = Keys(settings.redis.prefix)

    def keep(self, tenant: str, name: str, data: BinaryIO, size: int, content_type: str) -> Upload:
        """Store `size` bytes. A later upload of the same name takes the name."""
        upload_id = new_job_id()
        key = upload_key(tenant, upload_id)
        self._store.put_stream(key, data, size, content_type)
        with mapped():
            self._redis.set(self._named(tenant, name), upload_id, ex=UPLOAD_TTL_S)
        return Upload(upload_id, name, size, content_type, self._store.presign_get(key, ttl_s=UPLOAD_TTL_S))

    def find(self, tenant: str, name: str) -> str | None:
        """The id of the tenant's last upload of that name."""
        with mapped():
            return cast("str | None", self._redis.get(self._named(tenant, name)))

    def _named(self, tenant: str, name: str) -> str:
        # a name is a client's own text, of any length
        return self._keys("upload", tenant, hashlib.sha256(name.encode("utf-8", "replace")).hexdigest())
