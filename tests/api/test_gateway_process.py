"""What only a real server shows: event streams, dead clients, bodies that are too large, and ending in good order."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.client.event_stream import ServerSentEvent, read_messages
from farm.config import GatewaySettings, RedisSettings, S3Settings, Settings
from farm.ledger import Ledger, connect
from farm.storage.store import Store
from farm.tenants.tenants import Tenants
from tests.api.api_parts import TINY, Hand
from tests.api.gateway_process import Gateway, running
from tests.conftest import empty, wait_until

#: one server for the module, also when tests are spread over processes
pytestmark = pytest.mark.xdist_group("gateway")

LIMIT = 1024 * 1024


@pytest.fixture(scope="module")
def farm(redis_port: int, s3_server: S3Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    empty(redis_port)
    urls = {"ledger_url": f"redis://127.0.0.1:{redis_port}/0", "broker_url": f"redis://127.0.0.1:{redis_port}/1"}
    gateway = GatewaySettings(processes=1, threads=8, max_streams=3, max_body=LIMIT)
    return Settings(
        state_dir=tmp_path_factory.mktemp("state"), redis=RedisSettings(**urls), s3=s3_server, gateway=gateway
    )


@pytest.fixture(scope="module")
def gateway(farm: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(farm, tmp_path_factory.mktemp("gateway")) as one:
        yield one


@pytest.fixture(scope="module")
def keys(farm: Settings) -> dict[str, str]:
    with connect(farm.redis) as redis:
        tenants = Tenants(redis, farm)
        for name in ("alice", "bob"):
            tenants.create(name)
        return {name: tenants.api_keys.create(name, role="operator")[1] for name in ("alice", "bob")}


@pytest.fixture(scope="module", autouse=True)
def hand(farm: Settings) -> Hand:
    hand = Hand(Ledger(connect(farm.redis), farm), Store(farm.s3))
    hand.offer(TINY)
    return hand


@pytest.fixture
def alice(gateway: Gateway, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {keys['alice']}"}, timeout=90) as client:
        yield client


@pytest.fixture
def bob(gateway: Gateway, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, headers={"X-API-Key": keys["bob"]}, timeout=90) as client:
        yield client


def submit(client: httpx.Client) -> str:
    answer = client.post("/v1/jobs", json={"prompt": "a fox"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def messages(answer: httpx.Response) -> Iterator[tuple[ServerSentEvent, dict[str, Any]]]:
    for message in read_messages(answer.iter_lines()):
        yield message, json.loads(message.data)


# --- event streams


def test_a_job_is_followed_to_its_end_and_again_from_anywhere(alice: httpx.Client, hand: Hand) -> None:
    job_id = submit(alice)
    path = f"/v1/jobs/{job_id}/events"
    seen = []
    with alice.stream("GET", path) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        stream = messages(answer)
        first, snapshot = next(stream)
        assert (first.event, snapshot["id"], snapshot["state"]) == ("snapshot", job_id, "queued")
        claim = hand.claim()
        hand.progress(claim, 1, 4)
        hand.progress(claim, 4, 4)
        hand.finish(claim)
        seen = list(stream)  # ends by itself
    assert [data["state"] for _, data in seen] == ["running", "running", "running", "succeeded"]
    assert [message.event for message, _ in seen] == ["progress", "progress", "progress", "state"]
    assert [data["step"] for _, data in seen if data.get("step")] == [1, 4]
    assert all(data["job"] == job_id for _, data in seen)
    ids = [first.id, *(message.id for message, _ in seen)]
    assert len(set(ids)) == len(ids)
    for n, last in enumerate(ids[:-1]):
        with alice.stream("GET", path, headers={"Last-Event-ID": str(last)}) as answer:
            assert [message.id for message, _ in messages(answer)] == ids[n + 1 :]
    # and after the last one there is nothing more to come
    assert alice.get(path, headers={"Last-Event-ID": str(ids[-1])}).status_code == 204
    with alice.stream("GET", path) as answer:
        assert [data["state"] for _, data in messages(answer)] == ["succeeded"]


def test_a_tenants_stream_tells_of_its_own_jobs_alone(alice: httpx.Client, bob: httpx.Client) -> None:
    with alice.stream("GET", "/v1/events") as mine, bob.stream("GET", "/v1/events") as theirs:
        my_stream, their_stream = messages(mine), messages(theirs)
        assert (next(my_stream)[0].event, next(their_stream)[0].event) == ("ready", "ready")
        job_id = submit(alice)
        message, data = next(my_stream)
        assert (data["job"], data["state"]) == (job_id, "queued")
        other = submit(bob)
        assert next(their_stream)[1]["job"] == other
    alice.delete(f"/v1/jobs/{job_id}")
    with alice.stream("GET", "/v1/events", headers={"Last-Event-ID": str(message.id)}) as resumed:
        stream = messages(resumed)
        assert next(stream)[0].event == "ready"
        cancelled = next(stream)[1]
        assert (cancelled["job"], cancelled["state"]) == (job_id, "cancelled")


@pytest.mark.parametrize("bad", ["x", "1-2-3", "-", "99999999999999999999999-0", "$", "1-x"])
def test_an_id_that_no_stream_gave_is_refused(alice: httpx.Client, bad: str) -> None:
    answer = alice.get("/v1/events", headers={"Last-Event-ID": bad})
    assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")


def test_streams_are_counted_and_dead_clients_give_theirs_back(
    gateway: Gateway, alice: httpx.Client, keys: dict[str, str]
) -> None:
    def follow() -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", gateway.port))
        peer.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {keys['alice']}\r\n\r\n".encode())
        peer.settimeout(90)
        assert b"event: ready" in peer.recv(4096)
        return peer

    open_now = []

    def full() -> bool:
        """Three fit; those of the tests before may still be noticed as gone."""
        try:
            open_now.append(follow())
        except AssertionError:
            return True
        return False

    wait_until(lambda: full() and len(open_now) == 3, what="three streams, and no fourth")
    refused = alice.get("/v1/events")
    assert (refused.status_code, refused.headers["Content-Type"]) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) >= 1
    silent = alice.head("/v1/events")
    assert (silent.status_code, silent.headers.get("Content-Length")) == (200, None)
    for peer in open_now:
        peer.close()

    def free() -> bool:
        with alice.stream("GET", "/v1/events") as answer:
            return answer.status_code == 200

    wait_until(free, what="a stream that is free again")


# --- bodies


def head(keys: dict[str, str], more: str) -> bytes:
    return f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nX-API-Key: {keys['alice']}\r\n{more}\r\n\r\n".encode()


def test_a_large_body_is_refused_before_it_is_sent(gateway: Gateway, keys: dict[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=90) as peer:
        peer.sendall(head(keys, "Content-Type: application/json\r\nContent-Length: 209715200"))
        assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_who_sends_all_of_it_still_reads_the_refusal(gateway: Gateway, keys: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=90)
    headers = {"X-API-Key": keys["alice"], "Content-Type": "application/json"}
    connection.request("POST", "/v1/jobs", body=b" " * (20 * LIMIT), headers=headers)
    answer = connection.getresponse()
    problem = json.loads(answer.read())
    assert (answer.status, problem["type"]) == (413, "urn:wanfarm:problem:too-large")
    connection.close()


def test_a_body_without_a_length_is_refused_when_it_grows_too_large(gateway: Gateway, keys: dict[str, str]) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=90) as peer:
        peer.sendall(head(keys, "Content-Type: application/json\r\nTransfer-Encoding: chunked"))
        block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        for _ in range(LIMIT // 0x10000 + 2):
            peer.sendall(block)
        assert peer.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_broken_body_is_the_senders_fault(gateway: Gateway, keys: dict[str, str]) -> None:
    for more, body in (
        ("Transfer-Encoding: chunked", b"zz\r\nnonsense"),
        ("Transfer-Encoding: chunked", b"5\r\nabcdefgh\r\n"),
        ("Content-Length: 100", b"{"),
    ):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=90) as peer:
            peer.sendall(head(keys, more) + body)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(4096)[:12] in (b"HTTP/1.1 400", b""), gateway.log.read_text()[-3000:]


def test_the_connection_serves_on_after_a_refusal(gateway: Gateway, keys: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=90)
    for body, status in ((b"{}", 422), (b"nonsense", 400), (b'{"prompt": "p"}', 201)):
        connection.request("POST", "/v1/jobs", body=body, headers={"X-API-Key": keys["alice"]})
        answer = connection.getresponse()
        assert answer.status == status
        answer.read()
    connection.close()


# --- the process


def test_two_processes_count_together_and_end_well(farm: Settings, tmp_path: Path, keys: dict[str, str]) -> None:
    two = farm.model_copy(update={"gateway": farm.gateway.model_copy(update={"processes": 2})})
    # a connection for each request, so that both processes get some
    limits = httpx.Limits(max_keepalive_connections=0)
    with running(two, tmp_path) as gateway, httpx.Client(base_url=gateway.url, limits=limits, timeout=90) as client:
        assert client.get("/metrics").status_code == 401
        client.headers["Authorization"] = f"Bearer {keys['alice']}"
        for _ in range(20):
            assert client.get("/v1/models").status_code == 200
        text = client.get("/metrics").text
        count = re.search(r'wanfarm_http_requests_total\{method="GET",route="/v1/models",status="200"\} (\S+)', text)
        assert count is not None, text
        assert float(count[1]) == 20
        # the whole farm's numbers are the exporter's: of two gateways each would show them, and a sum would be double
        assert "wanfarm_jobs{" not in text
        # what only other processes are (monitoring.roles)
        assert not re.search("wanfarm_(engine|device|reaped|webhooks|render)", text)
        # both processes tell the same page, which adds them up
        told = [one["targets"] for one in client.get("/metrics/targets").json()]
        assert told.count([f"127.0.0.1:{gateway.port}"]) == 1
        with client.stream("GET", "/v1/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            gateway.process.send_signal(signal.SIGTERM)
            # in good order: a process that was killed in the middle of it would be an error here
            list(lines)
        gateway.process.wait(90)
    assert gateway.process.returncode == 0
    assert "SIGKILL" not in gateway.log.read_text()


def test_the_gateway_renders_nothing() -> None:
    """Its imports are quick and small: no torch, no video."""
    code = "import sys, api.app; print([m for m in ('torch', 'diffusers', 'transformers', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
