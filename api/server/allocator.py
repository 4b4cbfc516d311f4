"""How glibc gives memory back: after a large request the process is as small as before it."""

import contextlib
import ctypes
import sys

#: names of mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
#: a block of so many bytes is a mapping of its own, which is unmapped when it is freed. Set, it no longer grows with
#: what was freed before
_MAPPED = 256 << 10
#: bytes that may lie free at the end of a heap
_KEPT = 1 << 20
#: heaps: by default eight for each core, and what one thread freed is of no use to the others
_ARENAS = 2


def bound() -> None:
    """Bound what the allocator keeps of freed memory. Does nothing where the C library is not glibc."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((_MMAP_THRESHOLD, _MAPPED), (_TRIM_THRESHOLD, _KEPT), (_ARENA_MAX, _ARENAS)):
            mallopt(name, value)


def trim() -> None:
    """Give back at once what is free, also in the middle of a heap. Takes milliseconds; other threads run meanwhile."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
