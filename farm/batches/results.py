"""What a batch made: a line for each job, or one zip. Both are written as they are sent: nothing is kept whole."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from stream_zip import ZIP_64, stream_zip

from farm.jobs.file_names import safe_name
from farm.jobs.job import Job
from farm.jobs.states import State
from farm.ledger import Ledger
from farm.storage.store import Store

#: jobs that are read at once
_AT_ONCE = 200
_FILE_MODE = 0o100644
MANIFEST = "results.ndjson"


@dataclass(frozen=True)
class Results:
    """Of one batch, in the order of its lines. Raises Unavailable while it is read."""

    ledger: Ledger
    store: Store
    tenant: str
    batch: str
    url_ttl_s: int

    def jobs(self, *states: State) -> Iterator[Job]:
        """Its jobs in these states (none: all), as they stand when they are read."""
        cursor: str | None = None
        while True:
            page = self.ledger.page(
                self.tenant, states=states, batch=self.batch, cursor=cursor, limit=_AT_ONCE, oldest_first=True
            )
            yield from page.jobs
            if page.cursor is None:
                return
            cursor = page.cursor

    def lines(self) -> Iterator[bytes]:
        """JSON lines: each job, and the addresses of its files, which last for url_ttl_s."""
        for job in self.jobs():
            yield _line(self._told(job))

    def archive(self) -> Iterator[bytes]:
        """A zip of every video that is there, and a list of all jobs that says what became of the others."""
        # stored, not packed: videos are packed already. What is packed so needs no size beforehand
        yield from stream_zip(self._members(), get_compressobj=lambda: zlib.compressobj(level=0, wbits=-zlib.MAX_WBITS))

    def _members(self) -> Iterator[tuple[Any, ...]]:
        # what ends while it is written, or is in the store no more, is not among the files
        written: set[str] = set()

        def listed() -> Iterator[bytes]:
            for job in self.jobs():
                yield _line({**_about(job), "file": file_name(job) if job.id in written else None})

        for job in self.jobs(State.SUCCEEDED):
            stat = None if job.artifacts is None else self.store.stat(job.artifacts.video)
            if stat is None or job.artifacts is None:
                # its owner removed it
                continue
            written.add(job.id)
            made = datetime.fromtimestamp((job.finished_ms or job.created_ms) / 1000, UTC)
            yield file_name(job), made, _FILE_MODE, ZIP_64, self.store.blocks(stat.key, 0, stat.size)
        yield MANIFEST, datetime.now(UTC), _FILE_MODE, ZIP_64, listed()

    def _told(self, job: Job) -> dict[str, Any]:
        told = _about(job)
        if job.artifacts is not None:
            expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self.url_ttl_s)
            told |= {
                f"{name}_url": self.store.presign_get(getattr(job.artifacts, name), ttl_s=self.url_ttl_s)
                for name in ("video", "poster", "recipe")
            }
            told |= {"expires_at": expires.isoformat().replace("+00:00", "Z"), "sha256": job.artifacts.sha256}
        return told


def file_name(job: Job) -> str:
    """Of a job's video: line, then what its owner calls it."""
    parts = [f"{job.shot.get('line', 0):06d}", str(job.shot.get("id") or job.name or "")]
    if "take" in job.shot:
        parts.append(f"take{job.shot['take']}")
    return "-".join(safe for part in parts if (safe := safe_name(part))) + ".mp4"


def _about(job: Job) -> dict[str, Any]:
    error = None if job.error_code is None else {"code": job.error_code, "message": job.error_message}
    return {"job": job.id, **job.shot, "name": job.name, "state": job.state, "seed": job.spec.seed, "error": error}


def _line(told: dict[str, Any]) -> bytes:
    shown = {name: value for name, value in told.items() if value is not None}
    # plain ASCII: many readers end a line at U+2028, too
    return json.dumps(shown).encode() + b"\n"
