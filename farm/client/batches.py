"""`farm.batches` of the client: many shots in one request."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from farm.client.transport import Transport
from farm.jobs.batch import is_batch_id
from farm.jobs.errors import InvalidRequest, NotFound
from farm.jobs.states import State
from farm.wire.own_batches import BatchList, BatchView, QuoteView
from farm.wire.own_views import JobList, JobView

_MEDIA = {".csv": "text/csv", ".tsv": "text/csv", ".jsonl": "application/x-ndjson", ".ndjson": "application/x-ndjson"}
#: s that the farm may take to check a manifest
_CHECK_S = 600.0
_BLOCK = 1 << 18
#: as this library reads it, in whichever form it came
_OWN = {"view": "own"}


class Batches:
    """The calls of /v1/batches. Raises as Client does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        manifest: Path | str | BinaryIO,
        *,
        media: str | None = None,
        idempotency_key: str | None = None,
        **asked: Any,
    ) -> BatchView:
        """Submit every shot of a manifest (.csv or .jsonl), or none: then BadManifest's lines are in the error.

            farm.batches.create("shots.csv", name="scene 4", takes=2, model="wan2.2-t2v-a14b")

        asked: name, takes, hold_after, and fields of a shot that hold for all of them.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._transport.ask(BatchView, "POST", "/v1/batches", **self._request(manifest, media, asked, headers))

    def estimate(self, manifest: Path | str | BinaryIO, *, media: str | None = None, **asked: Any) -> QuoteView:
        """What the batch would be and cost; nothing is made."""
        request = self._request(manifest, media, {**asked, "dry_run": "true"}, {})
        return self._transport.ask(QuoteView, "POST", "/v1/batches", **request)

    def get(self, batch_id: str) -> BatchView:
        """NotFound also for somebody else's; Conflict for one of OpenAI's form that is not admitted."""
        return self._transport.ask(BatchView, "GET", _path(batch_id), params=_OWN)

    def list(self, *, page: int = 50) -> Iterator[BatchView]:
        """Newest first, page by page as it is read. What came as OpenAI's API takes it is there once it is admitted."""
        query: dict[str, Any] = {"limit": page, **_OWN}
        while True:
            answer = self._transport.ask(BatchList, "GET", "/v1/batches", params=query)
            yield from (BatchView.model_validate(one, strict=False) for one in answer.data)
            if answer.next_cursor is None:
                return
            query["cursor"] = answer.next_cursor

    def jobs(self, batch_id: str, *, state: State | str | None = None, page: int = 100) -> Iterator[JobView]:
        """In the order of the manifest's lines."""
        query: dict[str, Any] = {"limit": page} | ({} if state is None else {"state": state})
        while True:
            answer = self._transport.ask(JobList, "GET", f"{_path(batch_id)}/jobs", params=query)
            yield from answer.data
            if answer.next_cursor is None:
                return
            query["cursor"] = answer.next_cursor

    def act(self, batch_id: str, kind: str, **choice: Any) -> BatchView:
        """cancel, pause, resume, approve, retry or priority (with `priority=`), for all of its jobs or those of a
        `label`, `error_code` or `state`. It may go on after the answer: look at `acts`."""
        body = {name: value for name, value in choice.items() if value is not None}
        path = f"{_path(batch_id)}/{quote(kind, safe='')}"
        return self._transport.ask(BatchView, "POST", path, json=body, params=_OWN)

    def results(self, batch_id: str) -> Iterator[dict[str, Any]]:
        """Each job, with the addresses of its files."""
        for line in self._transport.lines(f"{_path(batch_id)}/results"):
            yield json.loads(line)

    def download(self, batch_id: str, path: Path | str) -> Path:
        """All videos that are there by now, as one zip."""
        self._transport.save(f"{_path(batch_id)}/results.zip", Path(path))
        return Path(path)

    def _request(
        self, manifest: Path | str | BinaryIO, media: str | None, asked: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        content = _Again(manifest)
        kind = media or _MEDIA.get(Path(content.name).suffix.lower())
        if kind is None:
            raise InvalidRequest("say what the manifest is: a .csv, a .jsonl, or `media`", "media")
        told = {name: _text(value) for name, value in asked.items() if value is not None}
        return {
            "params": told,
            "content": content,
            "headers": {**headers, "Content-Type": kind},
            "timeout": _CHECK_S,
        }


class _Again:
    """A file that is read from its beginning each time that it is sent."""

    def __init__(self, file: Path | str | BinaryIO) -> None:
        self._file = Path(file) if isinstance(file, str) else file
        self.name = str(self._file if isinstance(self._file, Path) else getattr(self._file, "name", ""))

    def __iter__(self) -> Iterator[bytes]:
        if isinstance(self._file, Path):
            with self._file.open("rb") as opened:
                yield from _blocks(opened)
            return
        self._file.seek(0)
        yield from _blocks(self._file)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _path(batch_id: str) -> str:
    if not is_batch_id(batch_id):
        raise NotFound(f"no batch {batch_id!r}")
    return f"/v1/batches/{batch_id}"
