"""What stands before the embedded S3 server: ranges, preflights, file names; and every byte as the server has it."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator

import httpx
import pytest

from farm.config import S3Settings
from farm.embedded.ports import free_port
from farm.embedded.readiness import front_answers
from farm.embedded.s3_front import parse, run
from farm.storage.store import Store
from tests.conftest import wait_until

OURS = "https://app.example.com"


@pytest.fixture
def front(s3_server: S3Settings) -> Iterator[S3Settings]:
    port, loop = free_port(), asyncio.new_event_loop()
    inner = int(s3_server.endpoint.rpartition(":")[2])
    task = loop.create_task(run("127.0.0.1", port, inner, (OURS,)))

    def serve() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=serve)
    thread.start()
    endpoint = f"127.0.0.1:{port}"
    wait_until(front_answers(endpoint), what="the front to listen")
    yield s3_server.model_copy(update={"endpoint": endpoint})
    loop.call_soon_threadsafe(task.cancel)
    thread.join()
    loop.close()


@pytest.fixture
def store(front: S3Settings) -> Store:
    made = Store(front)
    made.ensure_bucket()
    return made


def test_a_range_is_answered_206(store: Store) -> None:
    data = bytes(range(256)) * 40
    store.put_bytes("results/a/video.mp4", data, "video/mp4")
    url = store.presign_get("results/a/video.mp4")
    first = httpx.get(url, headers={"Range": "bytes=0-1"})
    assert (first.status_code, first.content) == (206, data[:2])
    assert first.headers["content-range"] == f"bytes 0-1/{len(data)}"
    assert httpx.get(url, headers={"Range": "bytes=-4"}).content == data[-4:]
    assert httpx.get(url, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
    whole = httpx.get(url)
    assert (whole.status_code, whole.content) == (200, data)
    head = httpx.head(url)
    assert head.status_code in (200, 403), "a GET was signed"


def test_large_objects_pass_through_as_they_are(store: Store) -> None:
    data = hashlib.shake_256(b"seed").digest(12_000_000)
    url = store.presign_put("uploads/a/large", len(data))
    assert httpx.put(url, content=data).status_code == 200
    assert store.get_bytes("uploads/a/large", len(data)) == data
    assert httpx.get(store.presign_get("uploads/a/large")).content == data
    by_parts = httpx.put(store.presign_put("uploads/a/small", 4), content=b"four", headers={"Expect": "100-continue"})
    assert by_parts.status_code == 200
    assert [one.key for one in store.list("uploads/a/")] == ["uploads/a/large", "uploads/a/small"]


def test_a_signature_still_counts(store: Store) -> None:
    store.put_bytes("results/a/x", b"x", "video/mp4")
    url = store.presign_get("results/a/x")
    assert httpx.get(url.replace("results/a/x", "results/a/y")).status_code == 403
    assert httpx.get(url[:-4] + "0000").status_code == 403


def test_a_page_may_send_and_read_where_the_operator_allows_it(store: Store) -> None:
    url = store.presign_put("uploads/a/one", 3)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    told = httpx.options(url, headers={"Origin": OURS, **asked})
    assert (told.status_code, told.headers["access-control-allow-origin"]) == (204, OURS)
    assert "PUT" in told.headers["access-control-allow-methods"]
    assert told.headers["access-control-allow-headers"] == "content-type"
    sent = httpx.put(url, content=b"one", headers={"Origin": OURS})
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, OURS)
    for foreign in (
        httpx.options(url, headers={"Origin": "https://evil.example.com", **asked}),
        httpx.get(store.presign_get("uploads/a/one"), headers={"Origin": "https://evil.example.com"}),
    ):
        assert foreign.status_code in (200, 204)
        assert not [name for name in foreign.headers if name.startswith("access-control")]


def test_an_uploaded_page_is_saved_and_not_shown(store: Store) -> None:
    store.put_bytes("uploads/a/page", b"<script>alert(1)</script>", "text/html")
    told = httpx.get(store.presign_get("uploads/a/page", filename="page.html"))
    assert (told.status_code, told.headers["content-disposition"]) == (200, 'attachment; filename="page.html"')
    url = store.presign_get("uploads/a/page", filename="page.html")
    assert httpx.get(url.replace("attachment", "inline")).status_code == 403


@pytest.mark.parametrize(
    "raw", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"a b c\r\n x: y\r\n\r\n"]
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="line"):
        parse(raw)
