"""What of a PNG decides its pixels. A viewer passes over the rest, however long, broken or odd it is. Pure."""

import struct
import zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: chunks that a reader needs, and those whose loss changes how the picture looks
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_USEFUL = frozenset({b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT"})
#: a colour profile, or EXIF, may have as many bytes; more is no such thing
_LONGEST = 4 << 20
#: bytes of a profile once it is unpacked: what Pillow unpacks of one
_LONGEST_PROFILE = 1 << 20


def essentials(data: bytes) -> bytes:
    """The PNG without the chunks that do not matter, and without those of them that are broken. What is broken in the
    others is left for a decoder to refuse."""
    kept, at = [_SIGNATURE], len(_SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if name in _CRITICAL or (name in _USEFUL and length <= _LONGEST and _usable(name, chunk)):
            kept.append(chunk)
        elif not name[0] & 0x20:
            # an unknown critical chunk: a decoder must refuse it
            kept.append(chunk)
        at += 12 + length
        if name == b"IEND":
            break
    return b"".join(kept)


def _usable(name: bytes, chunk: bytes) -> bool:
    if len(chunk) < 12 or zlib.crc32(chunk[4:-4]) != struct.unpack(">I", chunk[-4:])[0]:
        return False
    if name != b"iCCP":
        return True
    # a name, a zero, a zero, and the profile: Pillow refuses the whole picture for one that is too long
    body = chunk[8:-4].partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(body, _LONGEST_PROFILE)) < _LONGEST_PROFILE
    except zlib.error:
        return False
