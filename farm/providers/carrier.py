"""Carries a client's request to its provider. Where it fails it says whether the provider may have got the request: of
one that costs money that decides everything."""

import ssl
from functools import cache

import httpcore
import httpx

from farm.guard.addresses import Address, unwrapped
from farm.guard.dial import Deadline, PinnedBackend
from farm.guard.names import resolved, system_resolver, target
from farm.jobs.errors import AddressRefused, AddressUnreachable, FarmError
from farm.wire.http import ProviderAnswer, ProviderRequest

#: bytes of an answer that are read: an answer is a few lines of JSON
MAX_ANSWER = 4 << 20
#: a connection is given up after this part of the whole time
_CONNECT_SHARE = 0.5
_AGENT = "wanfarm"

_BEFORE_A_BYTE: dict[type[Exception], str] = {
    httpcore.ConnectTimeout: "no connection in time",
    httpcore.ConnectError: "no connection",
    httpcore.PoolTimeout: "no connection in time",
    httpcore.LocalProtocolError: "the request cannot be written as HTTP",
}


class NotSent(FarmError):
    """No byte of the request left this machine: no name, no connection, no TLS. It may be sent again."""


class NoAnswer(FarmError):
    """The provider may have got the request, and no whole answer came back: what became of it is not known."""


def carry(request: ProviderRequest, timeout_s: float) -> ProviderAnswer:
    """The whole exchange ends within `timeout_s`. Redirects are not followed: the headers carry a key. Raises NotSent
    and NoAnswer; no text of theirs holds anything of the request."""
    try:
        made = httpx.Request(
            request.method,
            request.url,
            headers={"User-Agent": _AGENT, "Accept": "application/json", **request.headers, "Connection": "close"},
            json=request.json,
            files={name: (file.name, file.data, file.content_type) for name, file in request.files.items()} or None,
        )
        body = made.read()
    except (httpx.InvalidURL, UnicodeError, ValueError, TypeError):
        raise NotSent("the request cannot be written as HTTP") from None
    deadline = Deadline(timeout_s)
    addresses = _addresses(request.url, timeout_s * _CONNECT_SHARE)
    waits = {"connect": timeout_s * _CONNECT_SHARE, "read": timeout_s, "write": timeout_s, "pool": timeout_s}
    # a connection of its own: one that was kept may be gone at the other end, and what was written on it unknown
    with httpcore.ConnectionPool(
        ssl_context=_trust(), network_backend=PinnedBackend(addresses, deadline), max_connections=1
    ) as pool:
        try:
            with pool.stream(
                made.method,
                str(made.url),
                headers=[(name.encode(), value.encode()) for name, value in made.headers.items()],
                content=body or None,
                extensions={"timeout": waits},
            ) as response:
                return ProviderAnswer(response.status, _whole(response), _headers(response))
        except tuple(_BEFORE_A_BYTE) as error:
            raise NotSent(next(text for kind, text in _BEFORE_A_BYTE.items() if isinstance(error, kind))) from None
        except httpcore.TimeoutException:
            raise NoAnswer("no answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError):
            raise NoAnswer("the connection broke before the answer was whole") from None


def _addresses(url: str, limit_s: float) -> list[Address]:
    """Which addresses may be dialled is the operator's word here: he wrote the URL down."""
    try:
        return [unwrapped(text) for text in resolved(target(url), system_resolver, limit_s)]
    except (AddressRefused, AddressUnreachable, ValueError) as error:
        raise NotSent(str(error)) from None


def _whole(response: httpcore.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_stream():
        body += piece
        if len(body) > MAX_ANSWER:
            raise NoAnswer("the answer is too large")
    return bytes(body)


def _headers(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").title(): value.decode("latin-1") for name, value in response.headers}


@cache
def _trust() -> ssl.SSLContext:
    return httpcore.default_ssl_context()
