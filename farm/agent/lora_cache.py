"""Tenants' LoRAs on this machine's disk: by content, shared by all of its agents, bounded. Every use is checked against
the hash; who may use one is not asked here.

Agents need no lock: a file appears whole under its hash or not at all, and an attempt gets a name of its own for it,
which outlives its removal from the cache.
"""

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from farm.jobs.errors import FaultCode, JobFault, NotFound
from farm.storage.store import Store
from models.planning.request import Lora
from models.weights.digest import sha256_of

log = logging.getLogger(__name__)

#: a download that is older has no agent any more
_STALE_S = 6 * 3600.0
_PARTIAL = ".new-"
#: a disk that gives back something else so often is broken
_TRIES = 3


class LoraCache:
    """LoRAs on the worker's disk, up to `limit_bytes`; the ones that were not used for longest are removed."""

    def __init__(self, folder: Path, store: Store, limit_bytes: int) -> None:
        self._folder, self._store, self._limit_bytes = folder, store, limit_bytes

    def bring(self, one: Mapping[str, Any], inbox: Path) -> Lora:
        """A LoRA of a spec, as a file in `inbox` that stays whatever the cache does. Raises Unavailable, or JobFault
        when it is gone from the store or its content has changed."""
        name, path = one["name"], inbox / f"lora-{one['id']}-{one['expert']}.safetensors"
        try:
            self._put(one["sha256"], one["key"], one["size"], path)
        except NotFound as error:
            raise JobFault(FaultCode.INPUT_UNREACHABLE, f"the LoRA {name} is gone") from error
        except _Spoilt as error:
            raise JobFault(FaultCode.STORAGE_FAILED, f"the stored LoRA {name} is not what was judged") from error
        return to_engine(one, str(path))

    def _put(self, sha256: str, key: str, size: int, path: Path) -> None:
        kept = self._folder / sha256
        for _ in range(_TRIES):
            if not kept.exists():
                self._fetch(sha256, key, size, kept)
            try:
                _give(kept, path)
            except FileNotFoundError:
                # another agent made room in between
                continue
            if sha256_of(path) == sha256:
                with suppress(FileNotFoundError):
                    os.utime(kept)
                return
            log.error("a cached LoRA has changed on disk and is fetched again: %s", kept)
            path.unlink()
            kept.unlink(missing_ok=True)
        raise _Spoilt

    def _fetch(self, sha256: str, key: str, size: int, kept: Path) -> None:
        """Raises _Spoilt when the stored content does not have the hash."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(size)
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=self._folder)
        os.close(handle)
        partial = Path(name)
        try:
            self._store.get_file(key, partial)
            if sha256_of(partial) != sha256:
                raise _Spoilt
            os.replace(partial, kept)
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove the least recently used files until `size` more bytes fit within the limit."""
        kept: list[tuple[float, int, Path]] = []
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                stat = path.stat()
                if not path.name.startswith((_PARTIAL, f".{_PARTIAL}")):
                    kept.append((stat.st_mtime, stat.st_size, path))
                elif stat.st_mtime < time.time() - _STALE_S:
                    path.unlink()
        total = size + sum(one for _, one, _ in kept)
        for _, one, path in sorted(kept):
            if total <= self._limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= one


def to_engine(one: Mapping[str, Any], path: str) -> Lora:
    """A LoRA of a spec as the engine takes it, from the file at `path`."""
    return Lora(path, one["sha256"], one["expert"], one["scale"], one["name"])


class _Spoilt(Exception):
    pass


def _give(kept: Path, path: Path) -> None:
    try:
        os.link(kept, path)
    except FileNotFoundError:
        raise
    except OSError:
        # another file system, or one without links
        shutil.copyfile(kept, path)
