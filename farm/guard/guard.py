"""The Guard: every address vetted before it is dialled, every redirect vetted again, every byte and second counted."""

import hashlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import httpcore
import httpx

from farm.config import IntakeSettings
from farm.guard.addresses import Address, is_inside, is_public, networks, unwrapped
from farm.guard.dial import Deadline, PinnedBackend
from farm.guard.names import Resolver, Target, resolved, system_resolver, target
from farm.jobs.errors import AddressRefused, AddressUnreachable, TooLarge

#: ports that are dialled on public addresses; inside the allowed networks any port is
FETCH_PORTS = frozenset({80, 443, 8080, 8443})
POST_PORTS = frozenset({443, 8443})
#: answers that another try may change
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
#: pieces that may be tiny, and what the average must have after that: taking one apart costs more than it holds
_CRUMBS, _CRUMB_BYTES = 4096, 128
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGENT = b"wanfarm"


@dataclass(frozen=True)
class Fetched:
    """A fetched file, written to the caller's file. `content_type` is the server's claim, which may be wrong."""

    size: int
    sha256: str
    url: str
    content_type: str | None


@dataclass(frozen=True)
class Answer:
    """The answer to a POST. Its body is never read: it may come from a foreign network."""

    status: int
    headers: Mapping[str, str]


class Guard:
    """Threads may share one. Raises AddressRefused, AddressUnreachable or TooLarge, and echoes no bodies."""

    def __init__(
        self,
        settings: IntakeSettings,
        *,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._allowed = networks(settings.allow_networks)
        self._resolver = resolver
        self._tls = tls or _trust()

    def vet(self, url: str, *, webhook: bool = False, resolve: bool = True, seconds: float | None = None) -> None:
        """Raise unless `url` may be dialled, by its form and its addresses. Connects to nothing.

        A webhook must be https, except inside the allowed networks. Without `resolve` a name is taken on trust until
        it is dialled; a literal address never is.
        """
        where = target(url)
        if resolve or where.literal:
            self._vetted(where, Deadline(self._settings.connect_s if seconds is None else seconds), webhook=webhook)

    def fetch(
        self,
        url: str,
        out: BinaryIO,
        *,
        limit: int,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """GET `url` into `out`, at most `limit` bytes in `seconds` (default: settings.total_s) all told.

        Follows max_redirects, each vetted like the first address. `headers` may hold a key: a redirect elsewhere does
        not get them.
        """
        deadline = Deadline(self._settings.total_s if seconds is None else seconds)
        where = first = target(url)
        for _ in range(self._settings.max_redirects + 1):
            addresses = self._vetted(where, deadline)
            own = (where.scheme, where.authority) == (first.scheme, first.authority)
            with self._exchange(b"GET", where, addresses, deadline, headers=headers if own else None) as response:
                if response.status not in _REDIRECTS:
                    return _received(response, where, out, limit, deadline)
                where = _next(where, response)
        raise AddressUnreachable(f"the address redirects more than {self._settings.max_redirects} times")

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float | None = None) -> Answer:
        """POST `body` once, unchanged. A redirect is returned like any other answer, not followed."""
        deadline = Deadline(self._settings.total_s if seconds is None else seconds)
        where = target(url)
        addresses = self._vetted(where, deadline, webhook=True)
        with self._exchange(b"POST", where, addresses, deadline, headers=headers, body=body) as response:
            return Answer(
                response.status, {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
            )

    def _vetted(self, where: Target, deadline: Deadline, *, webhook: bool = False) -> list[Address]:
        """The addresses behind the name, all of them good: one bad one among them refuses the whole."""
        limit_s = max(0.0, min(self._settings.connect_s, deadline.left_s))
        found = []
        for text in resolved(where, self._resolver, limit_s):
            try:
                address = unwrapped(text)
            except ValueError:
                raise AddressRefused("the URL leads to an address that is not public") from None
            if not is_inside(address, self._allowed):
                if not is_public(address):
                    raise AddressRefused("the URL leads to an address that is not public")
                _check_public(where, webhook)
            found.append(address)
        return found

    @contextmanager
    def _exchange(
        self,
        method: bytes,
        where: Target,
        addresses: Sequence[Address],
        deadline: Deadline,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Iterator[httpcore.Response]:
        """One request on a connection of its own. The one place where httpcore's errors become ours."""
        lines = [(b"Host", where.authority.encode()), (b"User-Agent", _AGENT), (b"Accept", b"*/*")]
        # an uncompressed body cannot grow beyond the limit while it is decoded
        lines += [(b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
        lines += [(name.encode("ascii"), value.encode("latin-1")) for name, value in (headers or {}).items()]
        if method == b"POST":
            lines.append((b"Content-Length", str(len(body)).encode()))
        wait = {"connect": self._settings.connect_s, "read": self._settings.read_s, "write": self._settings.read_s}
        address = httpcore.URL(
            scheme=where.scheme.encode(), host=where.host.encode(), port=where.port, target=where.path
        )
        backend = PinnedBackend(addresses, deadline)
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend, max_connections=1) as pool,
                pool.stream(
                    method, address, headers=lines, content=body or None, extensions={"timeout": wait}
                ) as response,
            ):
                yield response
        except httpcore.TimeoutException:
            raise AddressUnreachable("the address did not answer in time", passing=True) from None
        except httpcore.ConnectError as error:
            untrusted = any(isinstance(cause, ssl.SSLError) for cause in error.args)
            said = "has no certificate that can be trusted" if untrusted else "cannot be connected to"
            raise AddressUnreachable(f"the address {said}", passing=not untrusted) from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise AddressUnreachable("the address broke off or does not speak HTTP", passing=True) from None


@cache
def _trust() -> ssl.SSLContext:
    """certifi's authorities and the system's: a studio's own are among the latter. Reading them takes a while."""
    return httpcore.default_ssl_context()


def _check_public(where: Target, webhook: bool) -> None:
    """The extra rules for a URL that leads outside the allowed networks."""
    if webhook and where.scheme != "https":
        raise AddressRefused("the URL must begin with https://")
    ports = POST_PORTS if webhook else FETCH_PORTS
    if where.port not in ports:
        raise AddressRefused(f"port {where.port} is not dialled; use {', '.join(map(str, sorted(ports)))}")


def _received(response: httpcore.Response, where: Target, out: BinaryIO, limit: int, deadline: Deadline) -> Fetched:
    """Write the body of a plain 200 to `out`, counting while reading."""
    if response.status != 200:
        raise AddressUnreachable(f"the address answered {response.status}", passing=response.status in _PASSING)
    headers = httpx.Headers(response.headers)
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise AddressRefused("the address sends compressed bytes although it was asked for plain ones")
    too_large = TooLarge(f"the address holds more than the {limit} bytes allowed")
    claimed = headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > limit:
        raise too_large
    size, digest = 0, hashlib.sha256()
    for blocks, block in enumerate(response.iter_stream()):
        # a read of the network may hold thousands of blocks: the deadline counts for each
        if deadline.left_s <= 0:
            raise AddressUnreachable("the address did not send everything in time", passing=True)
        if blocks > _CRUMBS and size < blocks * _CRUMB_BYTES:
            raise AddressRefused("the address sends its bytes in crumbs; let it send larger pieces")
        size += len(block)
        if size > limit:
            raise too_large
        digest.update(block)
        out.write(block)
    return Fetched(size, digest.hexdigest(), where.url, headers.get("content-type"))


def _next(where: Target, response: httpcore.Response) -> Target:
    """Where a redirect leads; the caller vets it."""
    location = httpx.Headers(response.headers).get("location")
    if not location:
        raise AddressUnreachable("the address redirects to nowhere")
    try:
        return target(str(httpx.URL(where.url).join(location)))
    except httpx.InvalidURL:
        raise AddressRefused("the address redirects to what is not a URL") from None
    except AddressRefused as refused:
        raise AddressRefused(f"after a redirect: {refused.detail}") from None
