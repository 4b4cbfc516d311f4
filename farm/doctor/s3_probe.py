"""A few objects of the doctor's own in the farm's bucket, and plain HTTP requests for them as a client sends them."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import urllib3
from minio import Minio

from farm.config import S3Settings
from farm.jobs.errors import FarmError
from farm.storage.presign import presigned_put
from farm.storage.store import IMPATIENT, Store, http_pool

#: bytes of the small object
BODY = bytes(range(256)) * 8
#: where the doctor's objects lie; they are removed at the end
_FOLDER = "doctor"
#: for how long an address of a test is signed, s
_LIFE_S = 120


class S3Probe:
    """`store` and `sdk` dial the farm's own endpoint and sign for it, whatever clients are given."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings.model_copy(update={"public_endpoint": None, "public_secure": None})
        self.store = Store(self.settings)
        self.sdk: Minio = self.store.sdk
        self.bucket = settings.bucket
        self._pool = http_pool(settings, IMPATIENT)
        self._prefix = f"{_FOLDER}/{secrets.token_hex(8)}"

    def key(self, name: str) -> str:
        """The key of an object of this run."""
        return f"{self._prefix}/{name}"

    @property
    def folder(self) -> str:
        """What the keys of this run begin with."""
        return f"{self._prefix}/"

    def get_address(self, key: str, *, signed_ago_s: float = 0.0) -> str:
        """A presigned GET; with signed_ago_s above two minutes it has expired."""
        signed = datetime.now(UTC) - timedelta(seconds=signed_ago_s)
        life = timedelta(seconds=_LIFE_S)
        return str(self.sdk.presigned_get_object(self.bucket, key, life, request_date=signed))

    def put_address(self, key: str, size: int, *, signed_ago_s: float = 0.0) -> str:
        """A presigned PUT of `size` bytes, as uploads get it."""
        given = self.settings
        return presigned_put(
            host=given.endpoint,
            secure=given.secure,
            bucket=self.bucket,
            key=key,
            size=size,
            access=given.access_key,
            secret=given.secret_key,
            region=given.region,
            now=datetime.now(UTC) - timedelta(seconds=signed_ago_s),
            seconds=_LIFE_S,
        )

    def ask(
        self, method: str, address: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One plain request. Raises urllib3's HTTPError."""
        return self._pool.request(method, address, body=body, headers=dict(headers or {}), redirect=False)


@contextmanager
def cleaned(probe: S3Probe) -> Iterator[None]:
    """The probe's objects are gone at the end."""
    try:
        yield
    finally:
        with suppress(FarmError):
            probe.store.delete_prefix(probe.folder)
