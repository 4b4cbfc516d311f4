"""The sha256 of a file, which identifies it."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """In lower-case hexadecimal digits. Raises OSError."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
