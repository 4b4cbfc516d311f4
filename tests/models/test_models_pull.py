"""Fetching weights with the real hub client from a hub on this machine: pinned, whole, resumed, never a pickle."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from model_parts import T2V

from models import catalog, tiny, weights
from models.weights import PullProgress, WeightsError

COMMIT = "c0ffee" + "0" * 34
REAL, FOUR_STEP = "wan2.2-t2v-a14b", "wan2.2-t2v-a14b-4step"


class Hub(ThreadingHTTPServer):
    """Repositories (name -> path -> bytes) in the hub's own HTTP: information, listings, and files with ranges.
    Everything is stored by hash, as big files are on the hub."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        #: file -> bytes after which the connection breaks off, once
        self.breaks: dict[str, int] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Desk(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        self.server.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".rstrip())
        path = self.path.split("?")[0].strip("/")
        if path.startswith("api/models/"):
            self._about(path.removeprefix("api/models/"))
        elif "/resolve/" in path:
            self._file(path, body)
        else:
            self._send(404, b"")

    def _about(self, rest: str) -> None:
        repo, kind, revision = next((rest.partition(k) for k in ("/revision/", "/tree/") if k in rest), (rest, "", ""))
        files = self.server.repos.get(repo)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if revision not in ("main", COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        listed = [(name, data, hashlib.sha256(data).hexdigest()) for name, data in files.items()]
        lfs = [{"sha256": sha, "oid": sha, "size": len(data), "pointerSize": 134} for _, data, sha in listed]
        facts = [{"size": len(data), "blobId": sha[:40], "oid": sha[:40]} for _, data, sha in listed]
        whole = [
            {"type": "file", "path": name, "rfilename": name, "lfs": big, **fact}
            for (name, _, _), big, fact in zip(listed, lfs, facts, strict=True)
        ]
        about = {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": COMMIT,
            "siblings": whole,
            "tags": [],
            "private": False,
        }
        self._send(200, json.dumps(whole if kind == "/tree/" else about).encode())

    def _file(self, path: str, body: bool) -> None:
        repo, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        data = self.server.repos.get(repo, {}).get(name)
        if data is None or commit != COMMIT:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.server.breaks.pop(name, None) if body else None
        self._send(206 if start else 200, data[start:], headers, body=body, cut=cut)
        if cut is not None:
            self.close_connection = True

    def _send(
        self,
        status: int,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        body: bool = True,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data[:cut])


@pytest.fixture
def hub(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has T2V-A14B's repository, with tiny files in it and some that nobody should fetch."""
    hub = Hub()
    folder = tiny.ensure(models_dir, T2V)
    files = {name: (folder / name).read_bytes() for name in weights.hashes(folder)}
    repo = catalog.get(REAL).weights.repo or ""
    hub.repos[repo] = {**files, "README.md": b"# Wan", "old.bin": b"pickle", "demo.mp4": b"film"}
    tiny.lora_file(tmp_path / "lora.safetensors", seed=1)
    loras = catalog.get(FOUR_STEP).loras
    data = (tmp_path / "lora.safetensors").read_bytes()
    hub.repos[loras[0].repo or ""] = {**{lora.file or "": data for lora in loras}, "other.safetensors": b"x"}
    for module in ("huggingface_hub.constants", "huggingface_hub.hf_api", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.ENDPOINT", hub.url, raising=False)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield hub
    hub.shutdown()
    hub.server_close()


def test_pull_fetches_what_is_needed_and_locks_the_commit(hub: Hub, tmp_path: Path) -> None:
    told: list[PullProgress] = []
    folder = weights.pull(REAL, tmp_path, None, told.append)
    assert folder == tmp_path / REAL
    assert weights.revision_of(folder) == COMMIT
    assert weights.verify(folder) == []
    assert not (folder / "old.bin").exists()
    assert not (folder / "demo.mp4").exists()
    assert told[-1].done_bytes == told[-1].total_bytes > 0
    files = [line for line in hub.asked if "/resolve/" in line]
    assert all(f"/resolve/{COMMIT}/" in line for line in files)  # never a branch, which may move
    hub.asked.clear()
    weights.pull(REAL, tmp_path, None, told.append)
    assert not [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


def test_pull_goes_on_where_it_broke_off(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)  # tiny files, tiny pieces
    name = "transformer/diffusion_pytorch_model.safetensors"
    hub.breaks[name] = 50_000
    folder = weights.pull(REAL, tmp_path, None, lambda _: None)
    assert weights.verify(folder) == []
    assert [line for line in hub.asked if line.endswith(f"{name} bytes=50000-")]


def test_a_few_step_model_brings_its_base(hub: Hub, tmp_path: Path) -> None:
    folder = weights.pull(FOUR_STEP, tmp_path, None, lambda _: None)
    assert weights.verify(folder) == []
    assert weights.verify(tmp_path / REAL) == []
    assert {"high.safetensors", "low.safetensors"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "other.safetensors").exists()
    weights.pull(FOUR_STEP, tmp_path, None, lambda _: None)
    assert weights.verify(folder) == []


def test_a_revision_that_is_not_there_and_a_changed_file(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no revision 'v9'"):
        weights.pull(REAL, tmp_path, "v9", lambda _: None)
    folder = weights.pull(REAL, tmp_path, COMMIT, lambda _: None)
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text() + " ")
    assert any("content has changed" in problem for problem in weights.verify(folder))
    hub.repos.clear()
    with pytest.raises(WeightsError, match="no repository"):
        weights.pull(REAL, tmp_path / "other", None, lambda _: None)
