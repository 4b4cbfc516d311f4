"""Intake: from wherever an input comes to bytes in the store, named by their hash. Knows no jobs and no ledger.

Two steps, so that nothing is stored while anything else about a request may still be wrong: `look` reads and checks,
`keep` stores.
"""

import binascii
import hashlib
import io
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from farm.config import Settings
from farm.guard import Guard
from farm.intake.check import check
from farm.intake.media import Media, byte_limit
from farm.jobs.draft import Source
from farm.jobs.errors import InvalidRequest, NotFound, RequestError, TooLarge, TooMany
from farm.jobs.inputs import Kind, kind_of
from farm.jobs.spec import InputRef
from farm.scheduling.places import TenantPlaces
from farm.storage.object_keys import input_key, is_upload_id, upload_key
from farm.storage.quota import Quota
from farm.storage.store import Store

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w.+-]+=[\w.+-]+)*;base64,", re.IGNORECASE)
_COPY = 1 << 20


@dataclass
class Content:
    """What will be kept of bytes that were read and checked; it is not stored yet. Close it.

    size, kept_sha256   of what will be kept; sha256 of what was sent
    """

    file: BinaryIO
    size: int
    sha256: str
    kept_sha256: str
    media: Media

    @property
    def hashes(self) -> tuple[str, str]:
        """Of what was sent and of what will be kept: together they tell one content from another."""
        return self.sha256, self.kept_sha256

    def close(self) -> None:
        """Close, and so remove, the temporary file."""
        self.file.close()


class Intake:
    """Threads may share one.

    Raises InvalidRequest and TooLarge naming the field, Forbidden when the tenant's room is full, Unavailable when
    the store is away or its disk full.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        guard: Guard | None = None,
        *,
        quota: Quota | None = None,
        decodes: TenantPlaces | None = None,
    ) -> None:
        """Without a `quota` nobody's bytes are counted. With `decodes`, where somebody waits for the answer, whoever
        finds no place is told to come again (TooMany); without, one at a time waits for the other."""
        self._quota = quota
        self._limits = settings.intake
        self._retention_s = settings.scheduling.retention_s
        self._store = store
        self.guard = guard or Guard(settings.intake)
        self._fetches = TenantPlaces(settings.intake.sync_fetches)
        self._decodes = decodes

    def look(self, tenant: str, role: str, source: Source, *, field: str, seconds: float | None = None) -> Content:
        """Read the whole source into memory or a nameless file, and make of it what the role needs.

        `seconds` is the deadline of fetching a URL (default: settings.intake.total_s).
        """
        kind = kind_of(role)
        limit = byte_limit(kind, self._limits)
        with _named(field):
            if source.url is not None:
                file: BinaryIO = _nameless()
                try:
                    self.guard.fetch(source.url, file, limit=limit, seconds=seconds)
                except BaseException:
                    file.close()
                    raise
            elif source.upload is not None:
                file = self._uploaded(tenant, source.upload, limit)
            else:
                file = io.BytesIO(_plain(source, limit))
            with self._decoding(tenant, file):
                return self._checked(file, kind)

    def is_there(self, tenant: str, upload_id: str) -> bool:
        """Whether an upload can be named."""
        return is_upload_id(upload_id) and self._store.stat(upload_key(tenant, upload_id)) is not None

    def fetch_slot(self, tenant: str) -> AbstractContextManager[bool]:
        """Whether this process may fetch one more URL for the tenant while somebody waits for the answer."""
        return self._fetches.one(tenant)

    def keep(self, tenant: str, content: Content) -> InputRef:
        """Store the content under the hash of what is kept; what was stored within the last retention is not sent
        again. Older bytes are renewed, so that a new job does not lose them to the sweep (farm.intake.garbage)."""
        key = input_key(tenant, content.kept_sha256)
        present = self._store.stat(key)
        fresh = present is not None and present.modified_s > time.time() - self._retention_s
        if present is None or present.size != content.size or not fresh:
            if self._quota is not None:
                self._quota.check(tenant, content.size)
            content.file.seek(0)
            self._store.put_stream(key, content.file, content.size, content.media.content_type)
            if self._quota is not None and present is None:
                self._quota.add(tenant, content.size)
        media = content.media
        return InputRef(
            sha256=content.sha256,
            kept_sha256=content.kept_sha256,
            key=key,
            content_type=media.content_type,
            size=content.size,
            width=media.width,
            height=media.height,
            seconds=media.seconds,
            frames=media.frames,
            fps=media.fps,
            notes=media.notes,
        )

    def _checked(self, file: BinaryIO, kind: Kind) -> Content:
        with file:
            made = check(file, kind, self._limits)
            _, sent = _measured(file)
        size, kept = _measured(made.file)
        return Content(made.file, size, sent, kept, made.media)

    @contextmanager
    def _decoding(self, tenant: str, file: BinaryIO) -> Iterator[None]:
        if self._decodes is None:
            yield
            return
        with self._decodes.one(tenant) as free:
            if not free:
                file.close()
                raise TooMany("too many of your files are being looked at; send this again", retry_after_s=1.0)
            yield

    def _uploaded(self, tenant: str, upload_id: str, limit: int) -> BinaryIO:
        """What was put to a presigned address. It stays there until it expires, so that a repeated request finds it."""
        unknown = InvalidRequest("no such upload; ask for an address at /v1/uploads and PUT the file there first")
        if not is_upload_id(upload_id):
            raise unknown
        file = _nameless()
        try:
            self._store.read(upload_key(tenant, upload_id), file, limit)
        except NotFound:
            file.close()
            raise unknown from None
        except BaseException:
            file.close()
            raise
        return file


def _measured(file: BinaryIO) -> tuple[int, str]:
    """(bytes, hash) of a whole file."""
    size, digest = 0, hashlib.sha256()
    file.seek(0)
    while block := file.read(_COPY):
        size += len(block)
        digest.update(block)
    return size, digest.hexdigest()


def _plain(source: Source, limit: int) -> bytes:
    """The bytes of a source that came with the request."""
    if source.data is not None:
        data = source.data
    elif source.base64 is not None:
        data = _decoded(source.base64, limit)
    else:
        raise InvalidRequest("give an address, base64 text or an upload")
    if len(data) > limit:
        raise TooLarge(f"{len(data)} bytes are more than the {limit} allowed")
    return data


def _decoded(text: str, limit: int) -> bytes:
    """base64 in the standard alphabet, with or without data-URI prefix, white space allowed between."""
    text = text.lstrip()
    if text[:5].lower() == "data:":
        prefix = _DATA_URI.match(text[:256])
        if prefix is None:
            raise InvalidRequest("the data: URI must be of the form data:image/png;base64,...")
        text = text[prefix.end() :]
    if len(text) > limit * 2:
        raise TooLarge(f"the base64 text is longer than what {limit} bytes can need")
    text = "".join(text.split())
    if len(text) // 4 * 3 > limit + 2:
        raise TooLarge(f"the base64 text holds more than the {limit} bytes allowed")
    try:
        if len(text) % 4:
            raise binascii.Error("wrong padding")
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InvalidRequest("this is not base64 (standard alphabet, padded with =)") from None


def _nameless() -> BinaryIO:
    """A file that leaves nothing behind, however the process ends."""
    return tempfile.TemporaryFile(prefix="wanfarm-intake-")


@contextmanager
def _named(field: str) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        error.field = error.field or field
        raise
