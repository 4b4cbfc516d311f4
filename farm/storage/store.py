"""Objects: inputs, LoRAs and results in one bucket, through the minio SDK. Their keys are farm.storage.object_keys'.

Two clients: one for the address that the farm dials, one that only signs, for the address that clients reach (a
signature covers the host). Foreign errors end here: a caller sees Unavailable, NotFound or TooLarge.
"""

import io
import itertools
import logging
import mimetypes
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error

from farm.config import S3Settings
from farm.jobs.errors import NotFound, TooLarge, Unavailable
from farm.storage.presign import presigned_put

log = logging.getLogger(__name__)

#: seconds to connect, and between two reads, before a call to a silent server fails
CONNECT_S = 3.0
READ_S = 15.0
#: the same, twice over, for the one question whether it is there at all
READY_S = 2.0
#: bytes of one part of a multipart upload. Parts go one after another: two in memory are enough, and rclone's server,
#: which writes them on as they come, lets one that overtakes another wait until we give up
PART_SIZE = 16 * 1024 * 1024
_CHUNK = 1024 * 1024
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchVersion"})


@dataclass(frozen=True)
class Stat:
    """modified_s: seconds since the epoch, on the server's clock."""

    key: str
    size: int
    content_type: str | None
    etag: str
    modified_s: float = 0.0


@dataclass(frozen=True)
class Found:
    """An object of a listing. modified_s: seconds since the epoch, on the server's clock."""

    key: str
    size: int
    modified_s: float


class Store:
    """Raises farm.jobs.errors.Unavailable when the server is away or refuses, NotFound for a missing key.

    Threads may share one; processes may not (make it after the fork). Making one dials nobody.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._bucket = settings.bucket
        self._inner = _client(settings, settings.endpoint, settings.secure)
        self._probe = _client(settings, settings.endpoint, settings.secure, IMPATIENT)
        self._public = _client(
            settings,
            settings.public_endpoint or settings.endpoint,
            settings.secure if settings.public_secure is None else settings.public_secure,
        )

    @property
    def sdk(self) -> Minio:
        """The SDK's client for the address that the farm dials, for whoever wants its errors as they are."""
        return self._inner

    def ensure_bucket(self) -> None:
        """Create the bucket unless it exists. Raises Unavailable."""
        with _mapped("create the bucket"):
            if not self._inner.bucket_exists(self._bucket):
                try:
                    self._inner.make_bucket(self._bucket)
                except (S3Error, InvalidResponseError):
                    # another process may have been faster
                    if not self._inner.bucket_exists(self._bucket):
                        raise

    def put_file(self, key: str, path: Path, content_type: str, metadata: Mapping[str, str] | None = None) -> Stat:
        """Upload and verify (size) by a stat; multipart for large files."""
        size = path.stat().st_size
        with _mapped(f"store {key}"), path.open("rb") as data:
            self._inner.put_object(
                self._bucket,
                key,
                data,
                size,
                content_type,
                dict(metadata or {}),
                part_size=PART_SIZE,
                num_parallel_uploads=1,
            )
        return self._verified(key, size)

    def put_bytes(self, key: str, data: bytes, content_type: str) -> Stat:
        """Store bytes under a key. Raises Unavailable."""
        return self.put_stream(key, io.BytesIO(data), len(data), content_type)

    def put_stream(self, key: str, data: BinaryIO, size: int, content_type: str) -> Stat:
        """As put_file, for `size` bytes from where an open file stands."""
        with _mapped(f"store {key}"):
            self._inner.put_object(
                self._bucket, key, data, size, content_type, part_size=PART_SIZE, num_parallel_uploads=1
            )
        return self._verified(key, size)

    def get_file(self, key: str, path: Path, limit: int | None = None) -> None:
        """Download to `path` (through a temporary name beside it, so that a partial file never stands there).

        Raises TooLarge above `limit` bytes, before reading them.
        """
        size = self._known(key, limit)
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out:
                for block in self._blocks(key, size):
                    out.write(block)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def read(self, key: str, out: BinaryIO, limit: int) -> int:
        """Append the object to an open file; answers its size. Raises TooLarge as get_bytes does."""
        size = self._known(key, limit)
        for block in self._blocks(key, size):
            out.write(block)
        return size

    def get_bytes(self, key: str, limit: int) -> bytes:
        """Raises TooLarge above `limit` bytes, before reading them."""
        return b"".join(self._blocks(key, self._known(key, limit)))

    def stat(self, key: str) -> Stat | None:
        """None when there is no such object. (GET of a missing key is never tried: stat first.)"""
        with _mapped(f"look at {key}"):
            try:
                found = self._inner.stat_object(self._bucket, key)
            except S3Error as error:
                if error.code in _MISSING:
                    return None
                raise
        modified_s = found.last_modified.timestamp() if found.last_modified else 0.0
        return Stat(key, int(found.size or 0), found.content_type, (found.etag or "").strip('"'), modified_s)

    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> "list[Found]":
        """The first `limit` objects below `prefix` whose keys sort behind `after`, in the order of their keys."""
        with _mapped(f"list {prefix}"):
            listing = self._inner.list_objects(self._bucket, prefix, recursive=True, start_after=after)
            return [
                Found(one.object_name, int(one.size or 0), one.last_modified.timestamp())
                for one in itertools.islice(listing, limit)
            ]

    def delete(self, *keys: str) -> None:
        """A key that is not there is deleted already."""
        with _mapped("delete objects"):
            wanted = [DeleteObject(key) for key in keys]
            for error in self._inner.remove_objects(self._bucket, wanted):
                if error.code not in _MISSING:
                    raise Unavailable(f"object store did not delete {error.name}: {error.code}")

    def delete_prefix(self, prefix: str) -> int:
        """How many objects went. `prefix` must name something, or the bucket would be emptied."""
        if not prefix.strip("/"):
            raise ValueError("an empty prefix is the whole bucket")
        with _mapped(f"list {prefix}"):
            keys = [found.object_name for found in self._inner.list_objects(self._bucket, prefix, recursive=True)]
        self.delete(*keys)
        return len(keys)

    def presign_get(self, key: str, *, ttl_s: int | None = None, filename: str | None = None) -> str:
        """A public URL to read the object; signed for the public endpoint. Needs no network.

        With `filename` a browser saves under that name instead of showing it. The content type is signed too, from
        the key's ending: some servers forget the one that they were told.
        """
        headers: dict[str, Any] = {}
        if kind := mimetypes.guess_type(key)[0]:
            headers["response-content-type"] = kind
        if filename is None and key.startswith("uploads/"):
            # a stranger's bytes are saved, never shown: they might be a page
            filename = "file"
        if filename is not None:
            safe = "".join(c if c.isalnum() or c in "-_. " else "_" for c in filename if c.isascii()) or "file"
            headers["response-content-disposition"] = f'attachment; filename="{safe}"'
        life = timedelta(seconds=ttl_s or self._settings.url_ttl_s)
        return str(self._public.presigned_get_object(self._bucket, key, life, response_headers=headers))

    def presign_put(self, key: str, size: int, *, ttl_s: int | None = None) -> str:
        """A public URL to which PUTs of exactly `size` bytes may write the object until it expires."""
        given = self._settings
        return presigned_put(
            host=given.public_endpoint or given.endpoint,
            secure=given.secure if given.public_secure is None else given.public_secure,
            bucket=self._bucket,
            key=key,
            size=size,
            access=given.access_key,
            secret=given.secret_key,
            region=given.region,
            now=datetime.now(UTC),
            seconds=ttl_s or given.upload_ttl_s,
        )

    def ready(self) -> bool:
        """Whether the server answers for the bucket now."""
        try:
            with _mapped("look at the bucket"):
                return bool(self._probe.bucket_exists(self._bucket))
        except Unavailable:
            return False

    def blocks(self, key: str, offset: int, length: int) -> Generator[bytes, None, None]:
        """`length` bytes from `offset` of an object that is there, read as they are taken."""
        with (
            _mapped(f"read {key}"),
            closing(self._inner.get_object(self._bucket, key, offset=offset, length=length)) as response,
        ):
            yield from response.stream(_CHUNK)
            response.release_conn()

    def _verified(self, key: str, size: int) -> Stat:
        stat = self.stat(key)
        if stat is None or stat.size != size:
            raise Unavailable(f"object store did not keep {key} whole")
        if self._settings.folder is not None:
            _sync(self._settings.folder / self._bucket, key)
        return stat

    def _known(self, key: str, limit: int | None) -> int:
        """Size of an object that is there and within the limit."""
        stat = self.stat(key)
        if stat is None:
            raise NotFound(f"no object {key}")
        if limit is not None and stat.size > limit:
            raise TooLarge(f"{stat.size} bytes are more than the {limit} allowed")
        return stat.size

    def _blocks(self, key: str, size: int) -> Iterator[bytes]:
        """The object's bytes; Unavailable when it is not `size` bytes long (it changed or broke off meanwhile)."""
        left = size
        with _mapped(f"read {key}"), closing(self._inner.get_object(self._bucket, key)) as response:
            for block in response.stream(_CHUNK):
                left -= len(block)
                if left < 0:
                    break
                yield block
            response.release_conn()
        if left:
            raise Unavailable(f"object store did not give {key} whole")


_PATIENT: dict[str, Any] = {
    "timeout": urllib3.Timeout(connect=CONNECT_S, read=READ_S),
    "retries": urllib3.Retry(total=2, read=1, backoff_factor=0.1, status_forcelist=[500, 502, 503, 504]),
}
IMPATIENT: dict[str, Any] = {
    "timeout": urllib3.Timeout(connect=READY_S, read=READY_S),
    "retries": urllib3.Retry(total=0),
}


def _client(settings: S3Settings, endpoint: str, secure: bool, patience: Mapping[str, Any] = _PATIENT) -> Minio:
    return Minio(
        endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=secure,
        region=settings.region,
        http_client=http_pool(settings, patience),
    )


def http_pool(settings: S3Settings, patience: Mapping[str, Any]) -> urllib3.PoolManager:
    """Connections to the server, as the settings want them."""
    authority = None if settings.ca_file is None else str(settings.ca_file)
    return urllib3.PoolManager(maxsize=32, ca_certs=authority, **patience)


@contextmanager
def _mapped(doing: str) -> Iterator[None]:
    """The one place where the SDK's and the network's errors become ours. Details go to the log, not to a caller."""
    try:
        yield
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        log.warning("object store could not %s: %s", doing, error)
        raise Unavailable("object store is away or refuses; try again in a moment") from error


def _sync(bucket: Path, key: str) -> None:
    """What the server has written of an object, and the folders that name it, are on disk when this returns."""
    path = bucket / key
    try:
        for part in (path, *itertools.takewhile(lambda parent: parent != bucket.parent, path.parents)):
            handle = os.open(part, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise Unavailable(f"{key} cannot be synced to disk in s3.folder: {error.strerror}") from error
