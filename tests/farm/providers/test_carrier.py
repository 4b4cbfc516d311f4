"""A submission that fails is told apart at the socket: not sent, or not known."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from farm.embedded.ports import free_port
from farm.providers.carrier import MAX_ANSWER, NoAnswer, NotSent, carry
from farm.wire.http import File, ProviderRequest

KEY = "sk-very-secret"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\n{}"


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A socket that reads one request and then does as `talk` says."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(10)

        def serve() -> None:
            with door.accept()[0] as one:
                one.settimeout(10)
                got = b""
                while b"\r\n\r\n" not in got:
                    got += one.recv(65536)
                head, _, body = got.partition(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                length = next((int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length")), 0)
                while len(body) < length:
                    body += one.recv(65536)
                heard.append(head + b"\r\n\r\n" + body)
                talk(one)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/x", heard
        thread.join(10)


def post(url: str, **more: object) -> ProviderRequest:
    return ProviderRequest("POST", url, {"Authorization": f"Bearer {KEY}"}, **more)  # type: ignore[arg-type]


def test_an_answer_comes_back_whole_with_the_request_as_it_was_made() -> None:
    with server(lambda one: one.sendall(OK)) as (url, heard):
        answer = carry(post(url, json={"prompt": "a fox"}), 5)
    assert (answer.status, answer.json(), answer.headers["Retry-After"]) == (200, {}, "7")
    assert heard[0].startswith(b"POST /x HTTP/1.1")
    assert f"Authorization: Bearer {KEY}".lower().encode() in heard[0].lower()
    assert heard[0].endswith(b'{"prompt":"a fox"}')


def test_files_travel_as_multipart() -> None:
    with server(lambda one: one.sendall(OK)) as (url, heard):
        carry(post(url, files={"file": File("a.png", "image/png", b"picture")}), 5)
    assert b'name="file"; filename="a.png"' in heard[0]
    assert b"picture" in heard[0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{closed}/x", "http://no-such-host.invalid/x", "ftp://127.0.0.1/x", "http://[/x"]
)
def test_what_never_left_was_not_sent(url: str) -> None:
    with pytest.raises(NotSent) as raised:
        carry(post(url.format(closed=free_port()), json={}), 2)
    assert KEY not in str(raised.value)


def test_a_failed_handshake_of_tls_was_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def serve() -> None:
            one, _ = door.accept()
            with pytest.raises(ssl.SSLError):  # it has no certificate
                context.wrap_socket(one, server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(NotSent):
            carry(post(f"https://127.0.0.1:{door.getsockname()[1]}/x"), 5)


def test_a_key_that_is_no_header_is_not_sent_and_not_told() -> None:
    with pytest.raises(NotSent) as raised:
        carry(ProviderRequest("POST", "http://127.0.0.1:1/x", {"Authorization": f"{KEY}\n"}), 2)
    assert KEY not in str(raised.value)
    assert raised.value.__suppress_context__


def drip(one: socket.socket) -> None:
    """A byte now and then, for ever: each is in time."""
    try:
        for byte in OK * 100:
            one.sendall(bytes([byte]))
            if threading.Event().wait(0.1):
                return
    except OSError:
        return


@pytest.mark.parametrize(
    "talk",
    [
        lambda one: one.close(),
        lambda one: one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
        lambda one: one.sendall(b"hello\r\n\r\n"),
        lambda one: one.recv(1),
        drip,
        lambda one: one.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_ANSWER + 1) + b" " * (MAX_ANSWER + 1)
        ),
    ],
    ids=["reset", "cut off", "no HTTP", "silent", "dripping", "too large"],
)
def test_what_may_have_arrived_is_not_known(talk: Callable[[socket.socket], None]) -> None:
    with server(talk) as (url, heard), pytest.raises(NoAnswer):
        carry(post(url, json={}), 0.5)
    assert len(heard) == 1


def test_a_redirect_is_an_answer_and_the_key_goes_nowhere_else() -> None:
    away = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with server(lambda one: one.sendall(away)) as (url, _):
        assert carry(post(url, json={}), 5).status == 307
