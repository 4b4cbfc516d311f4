"""An S3 server that breaks one promise: a real one with something in front of it that answers otherwise."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time

import urllib3

from farm.config import S3Settings
from farm.doctor.s3_probe import BODY


@dataclass
class Exchange:
    """One request, and the real server's answer to it, which a lie may change."""

    method: str
    path: str
    sent: bytes
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        return self.status in (400, 403)

    def become(self, status: int, body: bytes = b"") -> None:
        self.status, self.body = status, body


Lie = Callable[[Exchange], None]


def open_for_ever(one: Exchange) -> None:
    if one.method == "GET" and "X-Amz-Signature" in one.path and one.refused:
        one.become(200, BODY)


def open_to_everybody(one: Exchange) -> None:
    if one.method == "GET" and one.path.endswith("/small"):
        one.become(200, BODY)


def forbidden_when_missing(one: Exchange) -> None:
    if one.status == 404:
        one.become(403)


def any_upload(one: Exchange) -> None:
    if one.method == "PUT" and one.refused:
        one.become(200)


def wrong_clock(one: Exchange) -> None:
    one.headers["Date"] = formatdate(time() + 600, usegmt=True)


def backwards(one: Exchange) -> None:
    if "list-type=2" in one.path and one.body.count(b"<Contents>") > 1:
        head, *found = one.body.split(b"<Contents>")
        found[-1], end = found[-1].split(b"</Contents>")
        found[-1] += b"</Contents>"
        one.body = head + b"".join(b"<Contents>" + each for each in reversed(found)) + end


def spoilt(one: Exchange) -> None:
    if one.method == "GET" and "X-Amz-Signature" not in one.path and one.path.endswith("/small"):
        one.body = one.body[::-1]


def no_signatures(one: Exchange) -> None:
    """As behind a proxy that changes the Host header."""
    if "X-Amz-Signature" in one.path:
        one.become(403)


@contextmanager
def lying(server: S3Settings, *lies: Lie) -> Iterator[S3Settings]:
    """The settings of a server in front of `server` that tells these lies."""
    pool = urllib3.PoolManager(maxsize=8)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # Host stays what the client signed
            answer = pool.request(
                self.command,
                f"http://{server.endpoint}{self.path}",
                body=sent,
                headers=dict(self.headers),
                retries=False,
            )
            kept = {name: value for name, value in answer.headers.items() if name.lower() in _KEPT}
            one = Exchange(self.command, self.path, sent, answer.status, answer.data, kept)
            for lie in lies:
                lie(one)
            self.send_response_only(one.status)
            for name, value in one.headers.items():
                self.send_header(name, value)
            told = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(one.body))
            self.send_header("Content-Length", told)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else one.body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = _pass_on

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    front = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    front.daemon_threads = True
    thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.model_copy(update={"endpoint": f"127.0.0.1:{front.server_port}"})
    finally:
        front.shutdown()
        thread.join()
        front.server_close()


_KEPT = frozenset({"date", "etag", "content-type", "last-modified", "content-range"})
