"""Reads a URL into host, port and the addresses behind the name. One parser reads it, and exactly that is dialled: no
later code parses it again."""

import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from queue import Empty, SimpleQueue

import httpx

from farm.jobs.errors import AddressRefused, AddressUnreachable

MAX_URL_CHARS = 4096
#: lookups that may hang at once in one process; getaddrinfo cannot be interrupted
_LOOKUPS = threading.BoundedSemaphore(64)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
#: the last label of a name is never a number; where it is, some parsers see an IPv4 address (0x7f.1, 2130706433)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

#: (name, seconds) -> address texts. Raises OSError when the name has none, TimeoutError when nobody answers.
Resolver = Callable[[str, float], Sequence[str]]


@dataclass(frozen=True)
class Target:
    """Where a URL leads: `host` is a name in ASCII lower case, or a literal address without brackets."""

    scheme: str
    host: str
    port: int
    #: path and query as they go over the wire
    path: bytes
    literal: bool

    @property
    def authority(self) -> str:
        """Host and, unless it is the scheme's own, port: the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL that is asked, without user, password and fragment."""
        return f"{self.scheme}://{self.authority}{self.path.decode('ascii')}"


def target(text: str) -> Target:
    """Raises AddressRefused for whatever is not a plain http or https URL."""
    if len(text) > MAX_URL_CHARS:
        raise AddressRefused(f"a URL may have {MAX_URL_CHARS} characters")
    if any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        raise AddressRefused("a URL has no spaces, backslashes or control characters in it; percent-encode them")
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, ValueError):
        raise AddressRefused("this is not a URL that can be read") from None
    if url.scheme not in _DEFAULT_PORTS:
        raise AddressRefused("the URL must begin with http:// or https://")
    if url.userinfo:
        raise AddressRefused("the URL must not contain a user name or password")
    port = _DEFAULT_PORTS[url.scheme] if url.port is None else url.port
    if not 0 < port < 65536:
        raise AddressRefused(f"{port} is not a port")
    host = host.removesuffix(".")
    return Target(url.scheme, host, port, url.raw_path, _is_literal(host))


def _is_literal(host: str) -> bool:
    """Whether the host is an address; a name passes when it is well formed, anything between the two is refused."""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return True
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("write an IPv4 address as four decimal numbers")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused("the URL has no valid host name")
    return False


def system_resolver(name: str, timeout_s: float) -> Sequence[str]:
    """Every address that the system knows for `name`, in its order of preference."""
    if not _LOOKUPS.acquire(timeout=timeout_s):
        raise TimeoutError("too many lookups are hanging")
    answer: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def look_up() -> None:
        """Answers with addresses or with the error, and gives its place back however late it ends."""
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            answer.put([str(entry[4][0]) for entry in found])
        except (OSError, UnicodeError) as error:
            answer.put(error if isinstance(error, OSError) else OSError(str(error)))
        finally:
            _LOOKUPS.release()

    # a daemon thread of its own: a resolver that hangs must hold up neither the caller nor the end of the process
    threading.Thread(target=look_up, name=f"resolve {name}", daemon=True).start()
    try:
        result = answer.get(timeout=timeout_s)
    except Empty:
        raise TimeoutError("the name server does not answer") from None
    if isinstance(result, OSError):
        raise result
    return list(dict.fromkeys(result))


def resolved(where: Target, resolver: Resolver, timeout_s: float) -> Sequence[str]:
    """The address texts behind a target; a literal is its own. Raises AddressUnreachable when there are none."""
    if where.literal:
        return [where.host]
    try:
        found = resolver(where.host, timeout_s)
    except TimeoutError:
        raise AddressUnreachable(f"the name {where.host} was not resolved in time", passing=True) from None
    except OSError as error:
        passing = getattr(error, "errno", None) == socket.EAI_AGAIN
        raise AddressUnreachable(f"the name {where.host} does not resolve", passing=passing) from None
    if not found:
        raise AddressUnreachable(f"the name {where.host} does not resolve")
    return found
