"""Checks a LoRA file while it is copied, so that the checked bytes are the stored bytes. Knows no tenant."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from farm.jobs.errors import Unavailable
from models.weights.lora_file import Anatomy, LoraError, LoraReader

_BLOCK = 1024 * 1024


@dataclass
class Judged(io.RawIOBase):
    """A file that is read block by block. Its last bytes are returned only when the whole file is good.

    blocks     its bytes, in order; size: how many they must be
    expected   the sha256 that its sender gave, if any
    anatomy, sha256   what was found, once it was read to its end

    read raises LoraError for a file that is no LoRA for Wan or differs from what was sent; Unavailable when the blocks
    end early or
    late.
    """

    blocks: Iterator[bytes]
    size: int
    expected: str | None
    anatomy: Anatomy | None = None
    sha256: str = ""
    _left: bytes = b""
    _passed: int = 0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        self._reader = LoraReader(self.size)

    def readable(self) -> bool:
        """Always True (io.RawIOBase)."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`, checked on the way. Raises LoraError, Unavailable."""
        if not self._left:
            self._left = self._next()
        taken, self._left = self._left[: size if size >= 0 else None], self._left[size if size >= 0 else _BLOCK :]
        return taken

    def _next(self) -> bytes:
        if self._passed == self.size:
            return b""
        block = next(self.blocks, b"")
        self._passed += len(block)
        if not block or self._passed > self.size:
            raise Unavailable("the upload changed while it was read; try again")
        self._digest.update(block)
        self._reader.feed(block)
        if self._passed == self.size:
            self.anatomy = self._reader.done()
            self.sha256 = self._digest.hexdigest()
            if self.expected is not None and self.sha256 != self.expected:
                raise LoraError(f"its sha256 is {self.sha256}: what arrived is not what was sent; upload it again")
        return block
