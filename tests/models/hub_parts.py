"""A hub on this machine: repositories in the hub's own HTTP, for the real client."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Repositories (name -> path -> bytes), the same at every commit but those in `history`: information, listings,
    and files with ranges. JSON is stored in git, the rest by hash, as big files are on the hub."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Desk)
        self.repos: dict[str, dict[str, bytes]] = {}
        #: commit -> what the repositories were then; what `main` is now
        self.history: dict[str, dict[str, dict[str, bytes]]] = {}
        self.main = COMMIT
        self.asked: list[str] = []
        #: file -> bytes after which the connection breaks off, once
        self.breaks: dict[str, int] = {}
        #: file -> bytes after which it says nothing more until `go_on`, once
        self.stalls: dict[str, int] = {}
        self.stalled, self.go_on = threading.Event(), threading.Event()
        #: file -> what the hub says that it hashes to, when that is not so
        self.lies: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def files(self, repo: str, commit: str) -> dict[str, bytes] | None:
        """What is in a repository at a commit; None when there is none."""
        return self.history.get(commit, self.repos).get(repo)

    def close(self) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()


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
        commit = self.server.main if revision in ("main", "") else revision
        files = self.server.files(repo, commit)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        if len(commit) != len(COMMIT):
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        whole = [self._entry(name, data) for name, data in files.items()]
        about = {
            "_id": "1",
            "id": repo,
            "modelId": repo,
            "sha": commit,
            "siblings": whole,
            "tags": [],
            "private": False,
        }
        self._send(200, json.dumps(whole if kind == "/tree/" else about).encode())

    def _entry(self, name: str, data: bytes) -> dict[str, Any]:
        blob, sha = git_hash(data), self.server.lies.get(name, hashlib.sha256(data).hexdigest())
        entry: dict[str, Any] = {"type": "file", "path": name, "rfilename": name, "size": len(data)}
        if name.endswith(".json"):
            said = self.server.lies.get(name, blob)
            return {**entry, "blobId": said, "oid": said}
        lfs = {"sha256": sha, "oid": sha, "size": len(data), "pointerSize": 134}
        return {**entry, "blobId": sha[:40], "oid": sha[:40], "lfs": lfs}

    def _file(self, path: str, body: bool) -> None:
        repo, _, rest = path.partition("/resolve/")
        commit, _, name = rest.partition("/")
        data = (self.server.files(repo, commit) or {}).get(name)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        etag = git_hash(data) if name.endswith(".json") else hashlib.sha256(data).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = self.server.breaks.pop(name, None) if body else None
        stall = self.server.stalls.pop(name, None) if body else None
        self._send(206 if start else 200, data[start:], headers, body=body, cut=stall if cut is None else cut)
        if stall is not None:
            self.wfile.flush()
            self.server.stalled.set()
            self.server.go_on.wait()
        if cut is not None or stall is not None:
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


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
