"""Files that clients hand over before they submit: kept under an id, found again by their name, unchecked until a job
names them. Knows no dialect."""

import hashlib
import re
from dataclasses import dataclass
from typing import BinaryIO, cast

from redis import Redis

from farm.config import Settings
from farm.jobs.errors import NotFound, TooLarge
from farm.jobs.ids import new_job_id
from farm.ledger.connection import mapped
from farm.ledger.keys import Keys
from farm.storage.object_keys import upload_key
from farm.storage.quota import Quota
from farm.storage.store import Store

#: characters of a name
MAX_NAME = 255
# an SVG is a document that runs scripts
_MEDIA = re.compile(r"(?:image|video|audio)/(?!svg)[a-z0-9][a-z0-9.+-]{0,60}")

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


def media_type(said: str) -> str:
    """`said` where it is a picture's, a clip's or a sound's and no more; else that of bytes of any kind, which no
    browser shows or runs."""
    word = said.partition(";")[0].strip().lower()
    return word if _MEDIA.fullmatch(word) else "application/octet-stream"


class UploadStore:
    """`redis` decodes responses. Every call may raise Unavailable. Threads may share one."""

    def __init__(self, redis: Redis, store: Store, settings: Settings) -> None:
        self._redis, self._store, self.quota = redis, store, Quota(redis, settings)
        self._keys = Keys(settings.redis.prefix)
        self._life_s = settings.s3.upload_ttl_s

    def keep(self, tenant: str, name: str, data: BinaryIO, size: int, content_type: str) -> Upload:
        """Store `size` bytes. A later upload of the same name takes the name. `content_type` is what the client says:
        only media keep theirs."""
        content_type, name = media_type(content_type), name[:MAX_NAME]
        upload_id = new_job_id()
        key = upload_key(tenant, upload_id)
        self.quota.check(tenant, size)
        self._store.put_stream(key, data, size, content_type)
        self.quota.add(tenant, size)
        with mapped():
            self._redis.set(self._named(tenant, name), upload_id, ex=UPLOAD_TTL_S)
        return Upload(
            upload_id, name, size, content_type, self._store.presign_get(key, ttl_s=UPLOAD_TTL_S, filename=name)
        )

    def room(self, tenant: str, most: int, size: int | None) -> tuple[str, str | None]:
        """Make room for an upload of `size` bytes, or of `most` at most where the client does not say: its id, and the
        address at the store to PUT it to, or None where only `put` takes it. Raises Forbidden when the tenant's room
        is full, Unavailable when the disk's is."""
        upload_id = new_job_id()
        self.quota.room(tenant, most if size is None else size, self._life_s)
        if size is not None:
            return upload_id, self._store.presign_put(upload_key(tenant, upload_id), size)
        with mapped():
            self._redis.set(self._ticket(upload_id), f"{tenant} {most}", ex=self._life_s)
        return upload_id, None

    def put(self, upload_id: str, data: bytes) -> None:
        """The bytes of an upload whose size was not said: whoever knows its id may send them. Raises NotFound for one
        that has no room, TooLarge."""
        with mapped():
            ticket = cast("str | None", self._redis.get(self._ticket(upload_id)))
        if ticket is None:
            raise NotFound("no such upload, or its address has expired")
        tenant, most = ticket.split()
        if len(data) > int(most):
            raise TooLarge(f"{len(data)} bytes are more than the {most} of an upload whose size was not said")
        self.quota.check_disk()
        self._store.put_bytes(upload_key(tenant, upload_id), data, "application/octet-stream")

    def find(self, tenant: str, name: str) -> str | None:
        """The id of the tenant's last upload of that name."""
        with mapped():
            return cast("str | None", self._redis.get(self._named(tenant, name)))

    def _ticket(self, upload_id: str) -> str:
        return self._keys("upload_ticket", upload_id[:128])

    def _named(self, tenant: str, name: str) -> str:
        # a name is a client's own text, of any length
        return self._keys("upload", tenant, hashlib.sha256(name.encode("utf-8", "replace")).hexdigest())
