"""What a file is told by: the hash of its bytes."""

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """In lower-case hexadecimal digits. Raises OSError."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
