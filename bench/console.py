"""What open consoles and traces cost the gateway: POST /v1/jobs with nobody looking, with 50 pages of the same tenant
open and live, and with every request traced. The same gateways take turns; the cost is read from their processor time,
which does not see who else is at work on the machine.
"""

import argparse
import multiprocessing
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from redis import Redis

from bench.gateway import _CLIENTS, cpu_s, figures, load, prepare, redis_server, served
from bench.report import checked_server, show
from farm.config import CONFIG_ENV, RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.embedded.settings_file import render
from farm.tenants.sessions import ConsoleSessions
from farm.tenants.tenants import Tenants

CONSOLES = 50
_OPEN_S = 60.0


class _Sink(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def consoles(port: int, session: str, count: int = CONSOLES) -> Iterator[list[int]]:
    """So many open pages, each of which reads what comes; their counts of bytes."""
    ask = f"GET /console/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: wanfarm_session={session}\r\n\r\n"
    open_pages = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    read = [0] * count

    def listen(n: int) -> None:
        with suppress(OSError):
            while data := open_pages[n].recv(65536):
                read[n] += len(data)

    threads = [threading.Thread(target=listen, args=(n,), daemon=True) for n in range(count)]
    for page, thread in zip(open_pages, threads, strict=True):
        page.sendall(ask.encode())
        thread.start()
    try:
        yield read
    finally:
        for page in open_pages:
            page.shutdown(socket.SHUT_RDWR)
            page.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--clients", type=int, default=8, help="connections at once")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="wanfarm-bench-") as place, ExitStack() as running:
        folder = Path(place)
        redis_url = running.enter_context(redis_server(folder))
        settings = Settings(
            state_dir=folder, redis=RedisSettings(ledger_url=f"{redis_url}/0", broker_url=f"{redis_url}/1")
        )
        (folder / "farm.toml").write_text(render(settings))
        headers = {"X-API-Key": prepare(settings), "Content-Type": "application/json"}
        redis = running.enter_context(Redis.from_url(redis_url, decode_responses=True))
        session = ConsoleSessions(redis, settings).begin(Tenants(redis, settings).api_keys.of("bench")[0].id).id
        sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        traced = {"WANFARM_TRACING__ENDPOINT": f"http://127.0.0.1:{sink.server_address[1]}/v1/traces"}
        ports = {"plain": free_port(), "traced": free_port()}
        servers = {}
        for name, more in (("plain", {}), ("traced", traced)):
            environment = {
                CONFIG_ENV: str(folder / "farm.toml"),
                "PROMETHEUS_MULTIPROC_DIR": str(folder / name),
                **more,
            }
            servers[name] = running.enter_context(served("api.app:create_app()", ports[name], environment, folder))
        clients = running.enter_context(multiprocessing.get_context("spawn").Pool(_CLIENTS))
        server = checked_server(redis, fsync="everysec")
        took: dict[str, list[float]] = {"nobody looks": [], "50 consoles": [], "traced": []}
        used = {name: [0.0, 0.0] for name in took}
        for port in ports.values():
            load(clients, port, headers, asked.clients, 1.0)
        for _ in range(asked.turns):
            for name in took:
                which = "traced" if name == "traced" else "plain"
                with ExitStack() as turn:
                    if name == "50 consoles":
                        read = turn.enter_context(consoles(ports[which], session))
                        end = time.monotonic() + _OPEN_S
                        while not all(read):
                            if time.monotonic() > end:
                                raise RuntimeError("a console was refused")
                            time.sleep(0.1)
                    before = cpu_s(servers[which], redis)
                    took[name] += load(clients, ports[which], headers, asked.clients, asked.seconds)
                    after = cpu_s(servers[which], redis)
                used[name] = [u + a - b for u, a, b in zip(used[name], after, before, strict=True)]
        sink.shutdown()
    rows = {name: figures(took[name], used[name], asked.turns * asked.seconds) for name in took}
    show(
        "POST /v1/jobs while people look, and traced",
        ("", "requests", "per second", "p50 ms", "p99 ms", "gateway CPU ms", "Redis CPU ms"),
        [(name, *row) for name, row in rows.items()]
        + [
            (
                f"{name} / nobody looks",
                "",
                *(a / b for a, b in zip(rows[name][1:], rows["nobody looks"][1:], strict=True)),
            )
            for name in ("50 consoles", "traced")
        ],
        "aim: consoles take less than a tenth of the submissions, traces less than 5 %",
        server=server,
    )


if __name__ == "__main__":
    main()
