"""What floods send and serve: a clip that costs a decoder half a minute, a server that says a byte at a time."""

import io
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_DRIP_S = 0.01


def edited_clip(edits: int = 100_000) -> bytes:
    """An MP4 of 16 frames whose edit list has so many entries (12 bytes each)."""
    import av
    import numpy as np

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream = box.add_stream("libx264", rate=16)
        stream.width = stream.height = 64
        for n in range(16):
            picture = np.full((64, 64, 3), n * 8, np.uint8)
            box.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        box.mux(stream.encode())
    # an edit: how long in the film, from where in the clip, at which speed
    table = struct.pack(">II", 0, edits) + struct.pack(">IiI", 1, 0, 0x10000) * edits
    return b"".join(_edited(kind, whole, _box(b"edts", _box(b"elst", table))) for kind, whole in _boxes(out.getvalue()))


def _edited(kind: bytes, whole: bytes, edits: bytes) -> bytes:
    """The box with `edits` in its tracks, behind their headers."""
    if kind == b"moov":
        return _box(kind, b"".join(_edited(*inner, edits) for inner in _boxes(whole[8:])))
    if kind == b"trak":
        header, *others = (part for name, part in _boxes(whole[8:]) if name != b"edts")
        return _box(kind, header + edits + b"".join(others))
    return whole


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole box) of each box."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at : at + size]
        at += size


@contextmanager
def dripping_server() -> Iterator[str]:
    """The address of a picture of any size, sent in chunks of one byte, a hundred a second."""
    over = threading.Event()

    def answer(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not over.wait(_DRIP_S):
                peer.sendall(b"1\r\nx\r\n")

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/x.png"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
