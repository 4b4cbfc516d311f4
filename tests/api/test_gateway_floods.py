"""Clients that say little, slowly or too much: none costs a thread, and all are told in the farm's form, or closed."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, request

from api.problems import HttpRefusal
from api.server.body import Bodies, Body
from api.server.places import Places
from farm.config import BatchSettings, GatewaySettings
from farm.jobs.errors import TooMany
from tests.api.gateway_thread import served
from tests.conftest import wait_until

LIMITS = GatewaySettings(
    threads=2, max_body=1 << 20, header_s=1.0, body_s=1.0, keepalive_s=1.0, linger_s=0.5, connections_per_address=64
)
HALF_HEAD = b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-A"
STALLED = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
STALLED_CHUNKS = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"
#: what a client may begin with and never end: each is held open more often than there are threads
BEGINNINGS = {"nothing": b"", "half a header": HALF_HEAD, "a stalled body": STALLED, "stalled chunks": STALLED_CHUNKS}


def echo() -> Flask:
    app = Flask("echo")

    @app.route("/<path:path>", methods=["GET", "POST"])
    def told(path: str) -> dict[str, Any]:
        environ = {name: str(request.environ.get(name)) for name in ("SCRIPT_NAME", "REMOTE_ADDR", "PATH_INFO")}
        return {**environ, "host": request.host, "scheme": request.scheme, "body": len(request.get_data())}

    return app


@pytest.fixture
def port() -> Iterator[int]:
    with served(echo(), LIMITS) as url:
        yield int(url.rpartition(":")[2])


def connect(port: int, begin: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=90)
    peer.sendall(begin)
    return peer


def asked(port: int, path: str = "/x", **more: Any) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    try:
        connection.request("POST" if "body" in more else "GET", path, **more)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def said(peer: socket.socket) -> tuple[int, dict[str, Any]]:
    """The answer on a connection that the farm ends."""
    answer = http.client.HTTPResponse(peer)
    answer.begin()
    return answer.status, json.loads(answer.read())


def ended(peer: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        while peer.recv(65536):
            pass
    return True


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_whoever_keeps_the_farm_waiting_costs_no_thread_and_is_sent_away(port: int, begin: bytes) -> None:
    peers = [connect(port, begin) for _ in range(10 * LIMITS.threads)]
    assert [asked(port)[0] for _ in range(5)] == [200] * 5
    assert all(ended(peer) for peer in peers), "each within its deadline: the peers' own patience is 20 s"


def test_a_byte_now_and_then_wins_no_time(port: int) -> None:
    """The deadline is for the whole, not for each byte."""
    for begin in (HALF_HEAD, STALLED):
        peer, gone = connect(port, begin), threading.Event()

        def drip(peer: socket.socket = peer, gone: threading.Event = gone) -> None:
            with contextlib.suppress(OSError):
                while not gone.wait(0.1):
                    peer.sendall(b"a")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        status, problem = said(peer)
        gone.set()
        dripping.join()
        assert (status, problem["type"]) == (408, "urn:wanfarm:problem:request-timeout")


def test_a_refused_body_is_read_for_a_moment_only(port: int) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
    peers = [connect(port, head) for _ in range(10 * LIMITS.threads)]
    assert asked(port)[0] == 200
    for peer in peers:
        assert said(peer)[0] == 413
        assert ended(peer)


@pytest.mark.long
def test_one_connection_more_than_an_address_may_have_takes_the_oldest_that_waits(port: int) -> None:
    peers = [connect(port, HALF_HEAD) for _ in range(LIMITS.connections_per_address)]
    wait_until(lambda: asked(port)[0] == 200, what="an answer beside them")
    assert ended(peers[0])


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /x HTTP/1.1\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 400),
        (b"GET /x HTTP/1.1\r\nX-A: " + b"a" * 200_000, 431),
        (b"GET /" + b"a" * 200_000, 431),
    ],
)
def test_errors_of_the_protocol_are_answered_as_problems(port: int, begin: bytes, status: int) -> None:
    peer = connect(port, b"")
    with contextlib.suppress(ConnectionError):
        peer.sendall(begin)
    answer = http.client.HTTPResponse(peer)
    answer.begin()
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert json.loads(answer.read())["status"] == status
    assert asked(port)[0] == 200


def test_refusals_before_a_thread_speak_the_addresss_dialect(port: int) -> None:
    _, body = asked(port, "/api/v1/jobs/createTask", body=b" " * (2 << 20))
    assert (body["code"], body["data"]) == (422, None), "kie's form, and kie knows no 413"


def test_no_header_moves_the_application_or_says_who_a_client_is(port: int) -> None:
    lies = {
        **{"SCRIPT_NAME": "/evil", "Script-Name": "/evil", "PATH_INFO": "/evil", "REMOTE_ADDR": "9.9.9.9"},
        **{
            "X-Forwarded-For": "9.9.9.9",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil",
            "Forwarded": "for=9",
        },
        **{"X-Forwarded-Prefix": "/evil", "X_Forwarded_For": "9.9.9.9"},
    }
    _, told = asked(port, "/a%20b", headers=lies)
    assert told == {
        **{"SCRIPT_NAME": "", "REMOTE_ADDR": "127.0.0.1", "PATH_INFO": "/a b"},
        **{"host": f"127.0.0.1:{port}", "scheme": "http", "body": 0},
    }


# --- threads


class Work:
    """Requests that run until they are let go."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.running: list[str] = []
        self.order: list[str] = []
        self.go = threading.Event()

    def add(self, caller: str, count: int) -> None:
        def run() -> None:
            self.running.append(caller)
            self.order.append(caller)
            self.go.wait(90)

        for _ in range(count):
            self.places.run(caller, run)


@pytest.fixture
def work() -> Iterator[Callable[[int], Work]]:
    made: list[Work] = []

    def make(threads: int) -> Work:
        made.append(Work(Places(threads)))
        return made[-1]

    yield make
    for one in made:
        one.go.set()


def test_one_caller_never_has_all_threads(work: Callable[[int], Work]) -> None:
    here = work(4)
    here.add("mallory", 20)
    here.add("victim", 1)
    wait_until(lambda: "victim" in here.running, what="the other's turn")
    assert here.running.count("mallory") <= 2


def test_callers_take_turns(work: Callable[[int], Work]) -> None:
    here = work(1)
    here.add("mallory", 1)
    wait_until(lambda: here.running == ["mallory"], what="the first")
    here.add("mallory", 5)
    here.add("victim", 2)
    here.go.set()
    wait_until(lambda: len(here.order) == 8, what="all of them")
    assert here.order[:5] == ["mallory", "mallory", "victim", "mallory", "victim"]


def test_too_many_of_one_caller_are_refused_and_nobody_elses(work: Callable[[int], Work]) -> None:
    here = work(2)
    with pytest.raises(TooMany):
        here.add("mallory", 200)
    here.add("victim", 1)
    wait_until(lambda: "victim" in here.running, what="the other's turn")


def test_a_manifest_has_longer_to_come_than_any_other_body() -> None:
    bodies = Bodies(GatewaySettings(body_s=0.01), BatchSettings())

    async def came() -> bytes:
        refused = asyncio.Event()

        async def stalled() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def late() -> dict[str, Any]:
            await refused.wait()
            return {"type": "http.request", "body": b"prompt"}

        manifest = Body("here")
        reading = asyncio.create_task(bodies.read(_post("/v1/batches"), late, manifest))
        with pytest.raises(HttpRefusal, match="took too long"):
            await bodies.read(_post("/v1/jobs"), stalled, Body("here"))
        refused.set()
        await reading
        assert manifest.file is not None
        text = manifest.file.read()
        bodies.release(manifest)
        return text

    assert asyncio.run(came()) == b"prompt"


def _post(path: str) -> dict[str, Any]:
    return {"method": "POST", "path": path, "headers": [(b"transfer-encoding", b"chunked")]}
