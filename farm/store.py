"""Objects: inputs and results in one bucket, through the minio SDK. The only code that knows object keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.config import S3Settings


def input_key(tenant: str, sha256: str) -> str:
    return f"inputs/{tenant}/{sha256}"


def result_key(tenant: str, job_id: str, attempt: int, name: str) -> str:
    """`name` is video.mp4, poster.jpg or recipe.json. The attempt's own prefix: a late writer overwrites nothing."""
    return f"results/{tenant}/{job_id}/{attempt}/{name}"


def upload_key(tenant: str, upload_id: str) -> str:
    """Where a client's presigned PUT lands, before intake has looked at it."""
    return f"uploads/{tenant}/{upload_id}"


@dataclass(frozen=True)
class Stat:
    key: str
    size: int
    content_type: str | None
    etag: str


class Store:
    """Raises farm.jobs.errors.Unavailable when the server is away or refuses, NotFound for a missing key."""

    def __init__(self, settings: S3Settings) -> None: ...

    def ensure_bucket(self) -> None:
        raise NotImplementedError

    def put_file(self, key: str, path: Path, content_type: str, metadata: Mapping[str, str] | None = None) -> Stat:
        """Upload and verify (size) by a stat; multipart for large files."""
        raise NotImplementedError

    def put_bytes(self, key: str, data: bytes, content_type: str) -> Stat:
        raise NotImplementedError

    def get_file(self, key: str, path: Path) -> None:
        """Download to `path` (through a temporary name beside it, so that a partial file never stands there)."""
        raise NotImplementedError

    def get_bytes(self, key: str, limit: int) -> bytes:
        """Raises TooLarge above `limit` bytes, before reading them."""
        raise NotImplementedError

    def stat(self, key: str) -> Stat | None:
        """None when there is no such object. (GET of a missing key is never tried: stat first.)"""
        raise NotImplementedError

    def delete(self, *keys: str) -> None:
        raise NotImplementedError

    def delete_prefix(self, prefix: str) -> int:
        raise NotImplementedError

    def presign_get(self, key: str, *, ttl_s: int | None = None, filename: str | None = None) -> str:
        """A public URL to read the object; signed for the public endpoint."""
        raise NotImplementedError

    def presign_put(self, key: str, *, ttl_s: int | None = None) -> str:
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether the server answers for the bucket now."""
        raise NotImplementedError
