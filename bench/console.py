"""What open consoles, metrics and traces cost the gateway: POST /v1/jobs with nobody looking, with 50 pages of the same
tenant open and live, with every request traced, and without counting requests. The same gateways take turns; the cost
is read from their processor time, which does not see who else is at work on the machine.
"""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from bench.gateway_load import COLUMNS, in_turns, ratio, turns_parser
from bench.local_gateway import local_gateways
from bench.report import show
from farm.ledger import connect
from farm.tenants.sessions import ConsoleSessions
from farm.tenants.tenants import Tenants

CONSOLES = 50
_OPEN_S = 60.0
PLAIN, LOOKED_AT, TRACED, UNCOUNTED = "nobody looks", f"{CONSOLES} consoles", "traced", "without metrics"


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


def _await_all(read: list[int]) -> None:
    end = time.monotonic() + _OPEN_S
    while not all(read):
        if time.monotonic() > end:
            raise RuntimeError("a console was refused")
        time.sleep(0.1)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    asked = turns_parser("python -m bench.console", __doc__, seconds=2.0, turns=6).parse_args(argv)
    sink = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    with local_gateways() as ground:
        with connect(ground.settings.redis) as redis:
            key_id = Tenants(redis, ground.settings).api_keys.of("bench")[0].id
            session = ConsoleSessions(redis, ground.settings).begin(key_id).id
        server = ground.server()
        plain = ground.serve("plain")
        spans = {"WANFARM_TRACING__ENDPOINT": f"http://127.0.0.1:{sink.server_address[1]}/v1/traces"}
        traced = ground.serve("traced", environment=spans)
        uncounted = ground.serve("uncounted", "bench.uncounted_gateway:app")

        @contextmanager
        def during(case: str) -> Iterator[None]:
            if case == LOOKED_AT:
                with consoles(plain.port, session) as read:
                    _await_all(read)
                    yield
                return
            yield
            if case != UNCOUNTED:
                # Prometheus asks each 15 s; here once in each turn
                httpx.get(f"http://127.0.0.1:{plain.port}/metrics", headers={"X-API-Key": ground.key}, trust_env=False)

        rows = in_turns(ground, {PLAIN: plain, LOOKED_AT: plain, TRACED: traced, UNCOUNTED: uncounted}, asked, during)
    sink.shutdown()
    show(
        "POST /v1/jobs while people look, traced, and counted",
        ("", *COLUMNS),
        [
            *((name, *row) for name, row in rows.items()),
            ratio(rows, LOOKED_AT, PLAIN),
            ratio(rows, PLAIN, UNCOUNTED),
            ratio(rows, TRACED, UNCOUNTED),
        ],
        "aim: consoles take less than a tenth of the submissions, metrics and traces together less than 5 %",
        server=server,
    )


if __name__ == "__main__":
    main()
