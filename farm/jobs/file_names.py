"""What files of results are called, from what their owners call the shots. Pure."""

import re
import unicodedata

#: file systems hold 255 of a whole name
MOST_BYTES = 160


def safe_name(text: str, most_bytes: int = MOST_BYTES) -> str:
    """Letters and digits of any alphabet stay; what file systems may not have becomes a hyphen."""
    stem = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return stem.encode()[:most_bytes].decode(errors="ignore")
