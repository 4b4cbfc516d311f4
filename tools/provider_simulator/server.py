"""The sockets: HTTP in, faults out, and the control endpoint under /_sim."""

import json
import os
import socket
import struct
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from tools.provider_simulator.clips import clip
from tools.provider_simulator.dialects.base import Answered, Request
from tools.provider_simulator.simulator import ClipAsked, Cut, Knobs, Simulator
from tools.provider_simulator.task import Task

_TELL_EVERY_S = 0.05
_MOST = 64 << 20


class SimulatorServer(ThreadingHTTPServer):
    """Serves one simulator; `port` 0 is any that is free."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, simulator: Simulator, host: str, port: int) -> None:
        self.simulator = simulator
        self._closed = threading.Event()
        super().__init__((host, port), _Handler)
        simulator.address = f"http://{host}:{self.server_address[1]}"
        threading.Thread(target=self._tell, daemon=True).start()

    def server_close(self) -> None:
        """Ends the thread that tells of tasks, too."""
        self._closed.set()
        super().server_close()

    def _tell(self) -> None:
        while not self._closed.wait(_TELL_EVERY_S):
            self.simulator.tell()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SimulatorServer
    _CONTROL: ClassVar[tuple[str, ...]] = ("/_sim/ledger", "/_sim/faults", "/_sim/settings")

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the books say what happened

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        where = urlsplit(self.path)
        path = unquote(where.path)
        data = self.rfile.read(min(int(self.headers.get("content-length") or 0), _MOST))
        try:
            if path.startswith("/_sim/"):
                self._send(self._control(path, data))
            elif path.startswith("/_files/"):
                self._file(path.split("/")[2:])
            else:
                body, sizes = _body(self.headers, data)
                headers = {name.lower(): value for name, value in self.headers.items()}
                query = dict(parse_qsl(where.query))
                request = Request(self.command, path, query, headers, body, sizes)
                self._send(self.server.simulator.answer(request))
        except ClipAsked as content:
            self._clip(content.task)
        except Cut as cut:
            self._cut(cut)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the farm was killed: what these tests are about

    def _send(self, reply: Answered) -> None:
        text = isinstance(reply.body, str)
        data = reply.body.encode() if text else reply.bytes
        self.send_response(reply.status)
        self.send_header("Content-Type", "text/html" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _cut(self, cut: Cut) -> None:
        """A reset, not an orderly end."""
        time.sleep(cut.seconds)
        if cut.whole:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(cut.whole)))
            self.end_headers()
            self.wfile.write(cut.whole[: cut.sent])
            self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _control(self, path: str, data: bytes) -> Answered:
        simulator = self.server.simulator
        given = json.loads(data or b"{}")
        try:
            if path == "/_sim/faults":
                simulator.faults.set(given["faults"])
            elif path == "/_sim/settings":
                if "balance" in given:
                    simulator.books.top_up_to(round(float(given.pop("balance")) * 1_000_000))
                simulator.knobs = Knobs(**{**vars(simulator.knobs), **given})
            elif path != "/_sim/ledger":
                return Answered(404, {"there are": self._CONTROL})
        except (KeyError, TypeError, ValueError) as wrong:
            return Answered(400, {"wrong": str(wrong)})
        return Answered(200, simulator.ledger() if path == "/_sim/ledger" else {"ok": True})

    def _file(self, parts: list[str]) -> None:
        simulator = self.server.simulator
        task = simulator.books.task(parts[0])
        if task is None:
            return self._send(Answered(404, "<html>no such file</html>"))
        if simulator.books.now() > int(parts[1]):
            return self._send(Answered(403, "<html>this link has expired</html>"))
        return self._clip(task)

    def _clip(self, task: Task) -> None:
        simulator = self.server.simulator
        mishap = simulator.faults.draw("file")
        if mishap and mishap.do == "missing":
            return self._send(Answered(404, "<html>no such file</html>"))
        if mishap and mishap.do == "slow":
            time.sleep(float(mishap.get("seconds", 5)))
        data = clip(simulator.books.folder / "clips", simulator.shape(task)).read_bytes()
        if task.clip == "broken":
            data = data[: len(data) // 2] + os.urandom(256)
        size = max(len(data), simulator.knobs.oversized_bytes) if task.clip == "oversized" else len(data)
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if mishap and mishap.do == "cut":
            self.wfile.write(data[: len(data) // 3])
            raise Cut
        self.wfile.write(data)
        for start in range(len(data), size, 1 << 16):
            self.wfile.write(bytes(min(1 << 16, size - start)))
        return None


def _body(headers: Message, data: bytes) -> tuple[dict[str, Any], dict[str, int]]:
    """(fields, sizes of files). Whatever the content type says, what begins with a brace is JSON."""
    if data.lstrip().startswith(b"{"):
        try:
            read = json.loads(data)
        except ValueError:
            return {}, {}
        return (read if isinstance(read, dict) else {}), {}
    kind = headers.get("content-type", "")
    if "boundary=" not in kind:
        return {}, {}
    fields: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for part in data.split(b"--" + kind.split("boundary=")[1].strip('"').encode()):
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        lines = head.decode("latin-1").replace("\r\n", ";").split(";")
        words = {name.strip(): value.strip('"') for name, _, value in (one.partition("=") for one in lines)}
        if "filename" in words:
            sizes[words["filename"]] = len(content)
        elif "name" in words:
            fields[words["name"]] = content.decode("utf-8", "replace")
    return fields, sizes
