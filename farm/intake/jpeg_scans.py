"""Counts the scans of a JPEG: a decoder decodes the picture once per scan. Pure."""

import re
from typing import BinaryIO

#: a marker inside the bits of a scan: FF 00 is a byte of them, FF D0 to D7 restart their coder
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_SCAN, _END = 0xDA, 0xD9
#: markers without a length behind them
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})


def scans(file: BinaryIO) -> int:
    """Scans of the picture at the beginning of a file. What stands behind its end (a phone's clip, a second picture)
    is not counted, nor what is inside a segment (a thumbnail)."""
    file.seek(0)
    data = file.read()
    at, found = 2, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker == _END:
            break
        if marker in _BARE or marker == 0:
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            found += 1
            following = _MARKER.search(data, at)
            if following is None:
                break
            at = following.start()
    return found
