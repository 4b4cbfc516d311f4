"""HTTP to a farm: retries, event streams that are resumed, problem bodies as errors. It knows no resource of the API.

FarmError
├── RequestError         and its kinds, by the problem's type: the farm refused
├── Unavailable          the farm answers, but cannot serve now, also when tried again
│   └── Unreachable      nobody answered at that address, or the connection broke
└── UnexpectedAnswer     something answered that is not a farm
"""

import hashlib
import json
import os
import random
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from farm.client.event_stream import ServerSentEvent, read_messages
from farm.jobs import errors
from farm.jobs.errors import FarmError, RequestError, TooMany, Unavailable

_M = TypeVar("_M", bound=BaseModel)

#: an event stream that says nothing for this long (the farm sends a comment every 15 s) is dead
_SILENCE = httpx.Timeout(45.0, connect=5.0)
_RETRY_STATUS = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
#: problem type -> our error
_KINDS: dict[str, type[RequestError]] = {
    kind.slug: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RequestError)
}
#: and by status, for a proxy's own errors and for kinds that are newer than this client
_STATUSES: dict[int, type[RequestError]] = {
    400: RequestError,
    401: errors.Unauthorized,
    402: errors.PaymentRequired,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.InvalidRequest,
    429: TooMany,
}


class Unreachable(Unavailable):
    """The farm does not answer, or the connection broke."""


class UnexpectedAnswer(FarmError):
    """The answer is not one of this API."""


@cache
def trusted() -> ssl.SSLContext:
    """The authorities that httpx trusts where nothing else is said. Reading them takes 30 ms of CPU: once is enough for
    all clients of a process."""
    return httpx.create_ssl_context()


class Transport:
    """`timeout_s` is for one answer, `patience_s` for all tries of one call."""

    def __init__(self, url: str, key: str, *, timeout_s: float, patience_s: float) -> None:
        self.url = full_address(url)
        self._key = clean_key(key)
        self._patience_s = patience_s
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, 5.0))
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self._key}", "User-Agent": "wanfarm-client"},
            timeout=timeout,
            limits=httpx.Limits(max_connections=32),
            verify=trusted(),
        )
        # objects are reached by a signature: our key is not for their server
        self._objects = httpx.Client(timeout=timeout, verify=trusted())

    def close(self) -> None:
        """Close all connections to the gateway and to the store."""
        self._http.close()
        self._objects.close()

    def ask(self, kind: type[_M], method: str, path: str, **request: Any) -> _M:
        """One JSON answer as a `kind`. Raises the error that the farm's problem body means."""
        answer = self.send(method, path, **request)
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise UnexpectedAnswer(f"{self.url}{path} answered {answer.status_code}, but not as a farm does") from error

    def messages(self, path: str, after: str | None, stop: Callable[[], bool]) -> Iterator[ServerSentEvent]:
        """An event stream, opened again after the last message whenever it breaks, until the farm says it is over
        (204), `stop` says so, or nothing has come for `patience_s`."""
        gave_up_at = time.monotonic() + self._patience_s
        pause_s = _FIRST_PAUSE_S
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": after} if after else {})}
            try:
                with self._http.stream("GET", path, headers=headers, timeout=_SILENCE) as answer:
                    if answer.status_code == 204:
                        return
                    if answer.status_code != 200:
                        answer.read()
                        raise problem(answer)
                    for message in read_messages(_lines(answer)):
                        after = message.id or after
                        gave_up_at, pause_s = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
                        yield message
            except httpx.HTTPError as error:
                failure: Unavailable = Unreachable(_words(self.url, error))
            except RuntimeError:
                if self._http.is_closed:
                    # by another thread of the caller's: that is an end, not a defect
                    return
                raise
            except Unavailable as error:
                failure = error
            else:
                # closed in good order: the farm limits how long one stream may live
                failure, pause_s = Unreachable(f"{self.url} closed the event stream"), _FIRST_PAUSE_S
            if stop():
                return
            if time.monotonic() + pause_s > gave_up_at:
                raise failure
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def send(
        self, method: str, path: str, *, once: bool = False, accept: tuple[int, ...] = (), **request: Any
    ) -> httpx.Response:
        """The answer, or the error that it means. What may be sent twice (a GET, a request with an idempotency key,
        one that was never delivered or was refused for now) is, after a growing pause or the one that the farm asks.
        """
        repeatable = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        end, pause_s = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        while True:
            asked_s = 0.0
            try:
                answer = self._http.request(method, path, **request)
            except httpx.HTTPError as error:
                failure: FarmError = Unreachable(_words(self.url, error))
                again = repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            else:
                if answer.is_success or answer.status_code in accept:
                    return answer
                failure = problem(answer)
                # 502 and 504 come from between us: then the farm may have done it
                again = answer.status_code in (_RETRY_STATUS if repeatable else (429, 503))
                asked_s = getattr(failure, "retry_after_s", 0.0) if again else 0.0
            # without jitter, clients that were refused together come back together
            wait_s = max(asked_s, pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            if once or not again or time.monotonic() + wait_s > end:
                raise failure
            time.sleep(wait_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def lines(self, path: str) -> Iterator[str]:
        """The lines of an answer as they come. Raises as send; Unreachable where it breaks off."""
        with self._opened(path) as answer:
            yield from _lines(answer)

    def save(self, path: str, to: Path) -> None:
        """An answer of any length into a file: whole, or not at all. Raises OSError."""
        if not to.parent.is_dir():
            raise NotADirectoryError(f"{to.parent}: there is no such folder")
        handle, partial = tempfile.mkstemp(prefix=f".{to.name}.", dir=to.parent)
        try:
            with os.fdopen(handle, "wb") as out, self._opened(path) as answer:
                for block in answer.iter_bytes():
                    out.write(block)
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, to)
        finally:
            Path(partial).unlink(missing_ok=True)

    @contextmanager
    def _opened(self, path: str) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", path) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise problem(answer)
                yield answer
        except httpx.HTTPError as error:
            raise Unreachable(_words(self.url, error)) from error

    def fetch(self, url: str, path: Path, *, sha256: str | None = None) -> None:
        """The object at a signed `url`, into `path`: whole and, where it is known, with that hash, or not at all."""
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out, self._objects.stream("GET", url) as answer:
                if answer.status_code != 200:
                    raise Unavailable(f"the object store answered {answer.status_code}")
                digest = hashlib.sha256()
                for block in answer.iter_bytes():
                    digest.update(block)
                    out.write(block)
            if sha256 is not None and digest.hexdigest() != sha256:
                raise UnexpectedAnswer(f"{path.name}: what came is not what the farm committed (sha256)")
            # mkstemp makes it private; a result is a file like any other
            os.chmod(partial, 0o666 & ~_umask())
            os.replace(partial, path)
        except httpx.HTTPError as error:
            raise Unreachable(_words(url, error)) from error
        finally:
            Path(partial).unlink(missing_ok=True)

    def store(self, url: str, data: bytes | BinaryIO, size: int | None = None) -> None:
        """PUT to a signed `url`. An open file of `size` bytes is read as it is sent."""
        headers = {} if size is None else {"Content-Length": str(size)}
        try:
            answer = self._objects.put(url, content=data, headers=headers)
        except httpx.HTTPError as error:
            raise Unreachable(_words(url, error)) from error
        if not answer.is_success:
            raise Unavailable(f"the object store answered {answer.status_code}")


def full_address(url: str) -> str:
    """`localhost:8000` is meant as http://localhost:8000."""
    url = url.strip().rstrip("/")
    return url if "://" in url else f"http://{url}"


def clean_key(key: str) -> str:
    """Without blanks and line ends around it, which files and shells leave. InvalidRequest, which does not tell the
    key, for one that no header could carry."""
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise errors.InvalidRequest("the API key has characters that no key has; copy it again, alone on its line")
    return key


def problem(answer: httpx.Response) -> FarmError:
    """The error that an answer other than 2xx means: by the problem's type, else by the status."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    detail = str(body.get("detail") or f"{answer.request.url} answered {answer.status_code}")
    wrong = [one for one in body.get("errors") or [] if isinstance(one, dict)]
    if body.get("error_count"):
        detail = _manifest_words(wrong, int(body["error_count"]))
    elif len(wrong) > 1:
        detail = "; ".join([detail, *(f"{one.get('field')}: {one.get('detail')}" for one in wrong[1:])])
    status = answer.status_code
    slug = str(body.get("type", "")).rpartition("/")[2].rpartition(":")[2]
    if status in (502, 503, 504):
        away = errors.NoWorkerYet if slug == errors.NoWorkerYet.slug else Unavailable
        return away(detail, _retry_after_s(answer))
    kind = _KINDS.get(slug) or _STATUSES.get(status)
    if kind is None:
        return UnexpectedAnswer(detail)
    field = None if body.get("error_count") else body.get("field")
    if kind is TooMany:
        return TooMany(detail, field, _retry_after_s(answer))
    return kind(detail, field)


def _lines(answer: httpx.Response) -> Iterator[str]:
    """As event streams and lines of JSON have them. httpx's own end at U+2028 and its like, too, which may stand in a
    prompt."""
    rest = b""
    for block in answer.iter_bytes():
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()
    if rest:
        yield rest.decode()


def _manifest_words(wrong: list[dict[str, Any]], count: int) -> str:
    """A line for each fault of a manifest."""
    told = []
    for one in wrong:
        where = [f"line {one['line']}"] if one.get("line") is not None else []
        told.append(": ".join([*where, *([one["field"]] if one.get("field") else []), str(one.get("detail"))]))
    if count > len(told):
        told.append(f"and {count - len(told)} more")
    return "\n".join([*told, "nothing was submitted"])


def _retry_after_s(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", 1.0)))
    except ValueError:
        # the header's other form is a date; no farm sends it
        return 1.0


def _words(url: str, error: httpx.HTTPError) -> str:
    where = httpx.URL(url)
    address = f"{where.scheme}://{where.netloc.decode()}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"nobody answers at {address} ({error or 'timeout'}); is the farm up? `wanfarm up`"
    return f"the connection to {address} broke: {error or type(error).__name__}"


def _umask() -> int:
    # there is no way to read it without setting it
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
