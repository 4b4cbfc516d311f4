import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from farm.config import S3Settings
from farm.jobs.errors import NotFound, TooLarge, Unavailable
from farm.storage.object_keys import input_key, result_key, result_prefix, upload_key
from farm.storage.store import PART_SIZE, Store


@pytest.fixture
def store(s3_server: S3Settings) -> Store:
    return Store(s3_server)


def test_bytes_come_back(store: Store) -> None:
    key = input_key("ada", "0" * 64)
    kept = store.put_bytes(key, b"a picture", "image/png")
    assert (kept.key, kept.size) == (key, 9)
    assert store.stat(key) == kept
    assert store.get_bytes(key, limit=9) == b"a picture"


def test_nothing_is_also_an_object(store: Store, tmp_path: Path) -> None:
    store.put_bytes("empty", b"", "text/plain")
    assert store.get_bytes("empty", limit=0) == b""
    store.get_file("empty", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def test_files_of_many_parts_come_back(store: Store, tmp_path: Path) -> None:
    source, back = tmp_path / "video.mp4", tmp_path / "back.mp4"
    source.write_bytes(b"0123456789abcdef" * ((PART_SIZE + 4096) // 16))
    stat = store.put_file(result_key("ada", "job", 1, "video.mp4"), source, "video/mp4", {"job": "job"})
    assert stat.size == source.stat().st_size
    store.get_file(stat.key, back)
    assert back.read_bytes() == source.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.mp4", "video.mp4"]


def test_a_missing_object_is_not_found_and_leaves_no_file(store: Store, tmp_path: Path) -> None:
    assert store.stat("no/such") is None
    with pytest.raises(NotFound):
        store.get_bytes("no/such", limit=10)
    with pytest.raises(NotFound):
        store.get_file("no/such", tmp_path / "x")
    store.delete("no/such")
    assert list(tmp_path.iterdir()) == []


def test_too_large_is_said_before_reading(store: Store, tmp_path: Path) -> None:
    store.put_bytes("ten", b"0123456789", "text/plain")
    with pytest.raises(TooLarge, match="10 bytes"):
        store.get_bytes("ten", limit=9)
    with pytest.raises(TooLarge):
        store.get_file("ten", tmp_path / "ten", limit=9)


def test_a_prefix_goes_and_its_neighbour_stays(store: Store) -> None:
    gone = [result_key("ada", "j1", a, n) for a in (1, 2) for n in ("video.mp4", "recipe.json")]
    stays = result_key("ada", "j10", 1, "video.mp4")
    for key in (*gone, stays):
        store.put_bytes(key, b"x", "video/mp4")
    assert store.delete_prefix(result_prefix("ada", "j1")) == 4
    assert [store.stat(key) for key in gone] == [None] * 4
    assert store.stat(stays) is not None
    with pytest.raises(ValueError, match="whole bucket"):
        store.delete_prefix("/")


def test_presigned_addresses_work_without_a_key_and_say_what_they_hold(store: Store) -> None:
    key = upload_key("ada", "u1")
    assert httpx.put(store.presign_put(key, 5), content=b"bytes").status_code == 200
    assert httpx.put(store.presign_put(key, 5), content=b"other bytes").status_code == 403
    assert store.get_bytes(key, limit=5) == b"bytes"
    poster = result_key("ada", "j", 1, "poster.jpg")
    # stored under a wrong type on purpose: the address carries the right one
    store.put_bytes(poster, b"jpeg", "text/html")
    answer = httpx.get(store.presign_get(poster, filename='my "shot"\r\n.jpg'))
    assert (answer.content, answer.headers["content-type"]) == (b"jpeg", "image/jpeg")
    assert answer.headers["content-disposition"] == 'attachment; filename="my _shot___.jpg"'
    assert httpx.get(store.presign_get(poster).replace("poster", "video")).status_code in (403, 404)
    assert httpx.get(store.presign_get(poster), headers={"Range": "bytes=1-2"}).content == b"pe"


def test_public_addresses_are_signed_for_the_public_host(s3_server: S3Settings) -> None:
    port = s3_server.endpoint.rpartition(":")[2]
    store = Store(s3_server.model_copy(update={"public_endpoint": f"localhost:{port}"}))
    store.put_bytes("shown", b"x", "text/plain")
    address = store.presign_get("shown")
    assert address.startswith(f"http://localhost:{port}/")
    assert httpx.get(address).content == b"x"
    assert httpx.get(address.replace("localhost", "127.0.0.1")).status_code == 403
    elsewhere = Store(s3_server.model_copy(update={"public_endpoint": "media.example.com", "public_secure": True}))
    assert elsewhere.presign_get("shown").startswith("https://media.example.com/")


def test_the_bucket_is_made_once(s3_server: S3Settings) -> None:
    store = Store(s3_server.model_copy(update={"bucket": "another"}))
    assert not store.ready()
    store.ensure_bucket()
    store.ensure_bucket()
    assert store.ready()


@pytest.fixture
def broken_server() -> Iterator[str]:
    """Accepts, answers half a status line and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_server_that_is_away_or_broken_is_unavailable(
    s3_server: S3Settings, broken_server: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    for endpoint in ("127.0.0.1:1", broken_server):
        store = Store(s3_server.model_copy(update={"endpoint": endpoint}))
        assert not store.ready()
        for call in (
            lambda s: s.stat("x"),
            lambda s: s.put_bytes("x", b"x", "text/plain"),
            lambda s: s.put_file("x", tmp_path / "f", "text/plain"),
            lambda s: s.get_bytes("x", limit=1),
            lambda s: s.delete("x"),
            lambda s: s.delete_prefix("x/"),
            lambda s: s.ensure_bucket(),
        ):
            with pytest.raises(Unavailable):
                call(store)
    refused = Store(s3_server.model_copy(update={"secret_key": "wrong"}))
    with pytest.raises(Unavailable):
        refused.put_bytes("x", b"x", "text/plain")


def test_what_counts_as_stored_was_synced_to_disk(
    s3_server: S3Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded server never syncs: the farm does, the object and the folders that name it."""
    folder = tmp_path / "s3"
    key = result_key("ada", "job", 1, "video.mp4")
    where = folder / s3_server.bucket / key
    where.parent.mkdir(parents=True)
    where.write_bytes(b"x")
    synced: list[Path] = []
    fsync = os.fsync

    def noted(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        fsync(handle)

    monkeypatch.setattr("farm.storage.store.os.fsync", noted)
    Store(s3_server.model_copy(update={"folder": folder})).put_bytes(key, b"x", "video/mp4")
    assert synced == [where, *list(where.parents)[: len(Path(key).parts)]]
    assert synced[-1] == folder / s3_server.bucket
    where.unlink()
    with pytest.raises(Unavailable, match="synced"):
        Store(s3_server.model_copy(update={"folder": folder})).put_bytes(key, b"x", "video/mp4")
