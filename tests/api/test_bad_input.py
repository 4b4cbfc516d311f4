"""What bad input gets: a clear error that names the field, a 4xx, nothing stored, nothing stuck. In both dialects."""

import base64
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from redis import Redis
from werkzeug.test import TestResponse

from api.services import Services
from farm.config import Settings
from farm.jobs.states import State
from tests.api.api_parts import Caller, picture
from tests.api.bad_fields import BAD_FIELDS
from tests.bad_servers import Script, Serve, serve

__all__ = ["serve"]  # a fixture


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Pictures may come from this machine's own loopback address and nowhere else that is private; little patience."""
    impatient = {"allow_networks": ("127.0.0.1/32",), "connect_s": 0.5, "read_s": 0.4, "total_s": 0.8}
    return settings.model_copy(update={"intake": settings.intake.model_copy(update=impatient)})


@pytest.fixture
def untouched(alice: Caller, redis: Redis, parts: Services) -> Callable[[], None]:
    """Call it after a refusal: neither the ledger nor the store knows more than before."""
    alice.get("/v1/models")  # the key's first use is noted

    def known() -> tuple[list[str], dict[State, int], list[str]]:
        stored = parts.store._inner.list_objects(parts.settings.s3.bucket, "inputs/alice/", recursive=True)
        # a farm of another test may live in the same Redis
        names = sorted(redis.keys(f"{parts.settings.redis.prefix}:*"))
        return names, parts.ledger.counts(), [str(one.object_name) for one in stored]

    before = known()

    def check() -> None:
        assert known() == before

    return check


@pytest.mark.parametrize(("body", "field", "says"), BAD_FIELDS)
def test_a_bad_field_is_named(
    alice: Caller, untouched: Callable[[], None], body: dict[str, Any], field: str, says: str
) -> None:
    answer = alice.post("/v1/jobs", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.content_type == "application/problem+json"
    assert (answer.json["status"], answer.json["field"]) == (answer.status_code, field)
    assert says in answer.json["detail"]
    untouched()


@pytest.mark.parametrize(("body", "field", "says"), BAD_FIELDS)
def test_a_bad_field_is_named_by_an_estimate_and_of_a_manifests_line_too(
    alice: Caller, untouched: Callable[[], None], body: dict[str, Any], field: str, says: str
) -> None:
    if "upload" not in str(body):
        # an estimate reads no inputs
        told = alice.post("/v1/jobs/estimate", json=body)
        assert (told.status_code, told.json["field"]) == (422, field)
        assert says in told.json["detail"]
    told = send_line(alice, body)
    assert told.status_code == 422, told.text
    assert (1, field) in [(one["line"], one.get("field")) for one in told.json["errors"]]
    untouched()


def send_line(caller: Caller, body: dict[str, Any]) -> TestResponse:
    return caller.post("/v1/batches", data=json.dumps(body), content_type="application/x-ndjson")


def _bomb(width: int, height: int) -> bytes:
    """The head of a PNG that promises more pixels than anybody wants, and little data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def _animated() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), (n * 80, 0, 0)) for n in range(3)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


BAD_PICTURES = {
    "text": b"this is no picture at all, however long one looks at it",
    "truncated": picture()[:-40],
    "bomb": _bomb(50_000, 50_000),
    "wide": _bomb(50_000, 1),
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
    "animated": _animated(),
    "html": b"<html><script>alert(1)</script></html>",
    "nothing": b"",
    "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
}


def both(caller: Caller, source: dict[str, str]) -> list[tuple[int, str]]:
    """(status, text) of the same picture in the farm's own API and in the self-hosted dialect."""
    own = caller.post("/v1/jobs", json={"prompt": "p", "image": source})
    theirs = caller.post("/generate", json={"prompt": "p", **{f"image_{kind}": text for kind, text in source.items()}})
    assert own.json["field"].startswith("image"), own.text
    assert theirs.status_code == 400, theirs.text
    assert list(theirs.json) == ["detail"]
    return [(own.status_code, own.json["detail"]), (theirs.status_code, theirs.json["detail"])]


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_refused(alice: Caller, untouched: Callable[[], None], name: str) -> None:
    text = base64.b64encode(BAD_PICTURES[name]).decode()
    if not text:
        assert alice.post("/v1/jobs", json={"prompt": "p", "image": {"base64": ""}}).status_code == 422
    else:
        for status, detail in both(alice, {"base64": text}):
            assert 400 <= status < 500
            assert len(detail) > 10
    untouched()


@pytest.mark.parametrize("text", ["!!!", "data:image/png;base64,@@@", "data:text/html,<b>", "AAAA=AAAA", "QUJD\u00e9"])
def test_broken_base64_is_refused(alice: Caller, untouched: Callable[[], None], text: str) -> None:
    both(alice, {"base64": text})
    untouched()


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.png",
        "http://192.168.1.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/a.png",
        "http://0x7f000002/a.png",
        "http://127.0.0.2/a.png",
        "http://localhost.localdomain.invalid/a.png",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://127.0.0.1/",
        "http://user:secret@example.com/a.png",
        "http://",
        "nonsense",
        "http://127.0.0.1:1/a.png",
    ],
)
def test_a_bad_address_is_refused(alice: Caller, untouched: Callable[[], None], url: str) -> None:
    both(alice, {"url": url})
    untouched()


def _answers(head: str, body: bytes = b"") -> Script:
    return lambda peer, _: peer.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)


def _never(peer: socket.socket, _: bytes) -> None:
    peer.recv(1)  # until the asker gives up


def _for_ever(peer: socket.socket, _: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    while True:
        peer.sendall(b"\0" * 65536)


BAD_SERVERS: dict[str, Script] = {
    "redirects into a private network": _answers("302 Found\r\nLocation: http://10.0.0.1/a.png"),
    "redirects to a file": _answers("302 Found\r\nLocation: file:///etc/passwd"),
    "never answers": _never,
    "streams for ever": _for_ever,
    "has no such picture": _answers("404 Not Found\r\nContent-Length: 6", b"secret"),
    "sends a page": _answers("200 OK\r\nContent-Length: 13", b"<html></html>"),
}


@pytest.mark.parametrize("name", BAD_SERVERS)
def test_a_bad_server_is_refused(alice: Caller, untouched: Callable[[], None], serve: Serve, name: str) -> None:
    server = serve(BAD_SERVERS[name])
    for _, detail in both(alice, {"url": server.url("/a.png")}):
        assert "secret" not in detail
    untouched()


def test_a_picture_that_is_one_is_taken(alice: Caller, serve: Serve) -> None:
    """The same way in, so that the refusals above mean something."""
    data = picture()
    server = serve(_answers(f"200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(data)}", data))
    job = alice.submit(image=server.url("/fox"))
    assert (job["state"], job["inputs"]["image"]["content_type"]) == ("queued", "image/png")
    made = alice.post("/generate", json={"prompt": "p", "image_url": server.url("/fox")})
    assert (made.status_code, made.json["status"]) == (200, "queued")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"prompt=a+fox", "application/x-www-form-urlencoded", 415),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"prompt": "p", "prompt": ', "application/json", 400),
        (b'"prompt"', "application/json", 422),
    ],
)
def test_a_body_that_is_no_json_is_refused(
    alice: Caller, untouched: Callable[[], None], body: bytes, kind: str, status: int
) -> None:
    answer = alice.post("/v1/jobs", data=body, content_type=kind)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    theirs = alice.post("/generate", data=body, content_type=kind)
    assert (theirs.status_code, list(theirs.json)) == (400, ["detail"])
    untouched()


def test_a_compressed_body_is_refused(alice: Caller) -> None:
    answer = alice.post("/v1/jobs", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_other_methods_and_addresses_are_told_in_the_dialect_of_the_address(alice: Caller) -> None:
    for method, path, status in (
        ("PUT", "/v1/jobs", 405),
        ("PATCH", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/v1//jobs", 404),
        ("BREW", "/v1/jobs", 405),
    ):
        answer = alice.ask(method, path)
        assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
        assert answer.json["title"]
    for method, path, status in (("GET", "/generate", 405), ("POST", "/jobs", 405), ("GET", "/status", 404)):
        answer = alice.ask(method, path)
        assert (answer.status_code, list(answer.json)) == (status, ["detail"])
    assert alice.ask("PUT", "/v1/jobs").headers["Allow"] == "GET, POST"


def test_an_error_of_ours_tells_nothing_and_is_logged(
    alice: Caller, parts: Services, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the house")

    monkeypatch.setattr(parts.ledger, "page", broken)
    answer = alice.get("/v1/jobs")
    assert (answer.status_code, answer.json["type"]) == (500, "urn:wanfarm:problem:internal")
    assert "secret" not in answer.text
    assert answer.json["detail"].split()[-1] in caplog.text
    assert "a secret of the house" in caplog.text
    assert alice.get("/jobs").json == {"detail": "Internal server error"}
