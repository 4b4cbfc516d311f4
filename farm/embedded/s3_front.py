"""What stands before the embedded S3 server and says what that leaves out: 206 for a range (Safari plays nothing
without), the answer to a browser's preflight, and the file name that a signed address asks for.

`python -m farm.embedded.s3_front HOST PORT INNER_PORT`. It checks no signature, which is for the server behind it, and
changes no byte of a body. One request for each connection.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from farm import lifeline
from farm.config import load

_BLOCK = 256 * 1024
#: bytes of a head, and seconds until it must be there
_MAX_HEAD, _HEAD_S = 64 * 1024, 30.0
_REMEMBERED_S = 600
_HOP = frozenset({"connection", "keep-alive", "proxy-connection"})
_EXPOSED = "ETag, Content-Range, Content-Length, Accept-Ranges, Content-Disposition"


@dataclass(frozen=True)
class HttpHead:
    """The first line and the header lines of a request or an answer."""

    first: str
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The header's value; `name` in lower case."""
        return next((value for known, value in self.headers if known.lower() == name), None)

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first.partition(" ")[0]

    @property
    def status(self) -> int:
        """Of an answer; 0 where it has none."""
        word = self.first.split(" ")[1:2]
        return int(word[0]) if word and word[0].isdecimal() else 0

    def without(self, names: Iterable[str], prefix: str = "\0") -> "HttpHead":
        """Without those headers, and those that begin with `prefix`."""
        gone = frozenset(names)
        kept = tuple(
            (name, value)
            for name, value in self.headers
            if name.lower() not in gone and not name.lower().startswith(prefix)
        )
        return HttpHead(self.first, kept)

    def raw(self, *more: tuple[str, str]) -> bytes:
        """As it is sent, with `more` headers at its end."""
        lines = [self.first, *(f"{name}: {value}" for name, value in (*self.headers, *more))]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse(raw: bytes) -> HttpHead:
    """A head as it came, with the empty line behind it. Raises ValueError."""
    first, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("no header line")
        headers.append((name, value.strip()))
    if len(first.split(" ")) < 3:
        raise ValueError("no first line")
    return HttpHead(first, tuple(headers))


def preflight(request: HttpHead, origins: Sequence[str]) -> bytes | None:
    """The answer to a browser that asks before it sends; None for every other request."""
    if request.method != "OPTIONS" or request.get("access-control-request-method") is None:
        return None
    told = [("Content-Length", "0"), ("Connection", "close"), *_allowed(request, origins)]
    if len(told) > 2:
        told += [
            ("Access-Control-Allow-Methods", "GET, HEAD, PUT"),
            ("Access-Control-Allow-Headers", request.get("access-control-request-headers") or "*"),
            ("Access-Control-Max-Age", str(_REMEMBERED_S)),
        ]
    return HttpHead("HTTP/1.1 204 No Content", tuple(told)).raw()


def amended(answer: HttpHead, request: HttpHead, origins: Sequence[str]) -> bytes:
    """The head of the server's answer as the client gets it."""
    head = answer.without(_HOP, "access-control-")
    if answer.status == 200 and request.method == "GET" and answer.get("content-range") is not None:
        head = HttpHead("HTTP/1.1 206 Partial Content", head.headers)
    more = [("Connection", "close"), *_allowed(request, origins)]
    name = parse_qs(urlsplit(request.first.split(" ")[1]).query).get("response-content-disposition")
    # the query was signed, and the server has found it right
    if name and answer.status in (200, 206) and name[0].isprintable():
        head = head.without(("content-disposition",))
        more.append(("Content-Disposition", name[0]))
    return head.raw(*more)


def _allowed(request: HttpHead, origins: Sequence[str]) -> list[tuple[str, str]]:
    origin = request.get("origin")
    if origin is None or not (origin in origins or "*" in origins):
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
        ("Vary", "Origin"),
    ]


class S3Front:
    """Stands before the embedded S3 server, which listens on `inner_port`. origins: pages that browsers may ask
    from."""

    def __init__(self, inner_port: int, origins: Sequence[str]) -> None:
        self._inner_port, self._origins = inner_port, origins

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its request to the end of the answer."""
        try:
            async with asyncio.timeout(_HEAD_S):
                request = parse(await reader.readuntil(b"\r\n\r\n"))
            if (told := preflight(request, self._origins)) is not None:
                writer.write(told)
                await writer.drain()
                return
            await self._pass_on(request, reader, writer)
        except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, TimeoutError):
            # a client that went, sends no HTTP, or the server behind: closing says all there is to say
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _pass_on(self, request: HttpHead, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", self._inner_port, limit=_MAX_HEAD)
        try:
            outside.write(request.without(_HOP).raw(("Connection", "close")))
            body = asyncio.create_task(_pump(reader, outside))
            try:
                while (answer := parse(await inside.readuntil(b"\r\n\r\n"))).status < 200:
                    writer.write(answer.raw())
                writer.write(amended(answer, request, self._origins))
                await _pump(inside, writer)
            finally:
                body.cancel()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await body
        finally:
            outside.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while block := await source.read(_BLOCK):
        target.write(block)
        await target.drain()


async def run(host: str, port: int, inner_port: int, origins: Sequence[str]) -> None:
    """Until it is cancelled."""
    front = S3Front(inner_port, origins)
    server = await asyncio.start_server(front.serve, host, port, limit=_MAX_HEAD, backlog=512)
    async with server:
        await server.serve_forever()


def main() -> None:
    """What the part runs."""
    lifeline.bind()
    host, port, inner_port = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(host, int(port), int(inner_port), load().gateway.cors_origins))


if __name__ == "__main__":
    main()
