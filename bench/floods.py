"""One tenant's flood, or nobody's at all, beside another tenant's calls: how long they take and how many are answered.

The gateway runs as in earnest (its own processes and threads, a Redis of its own); `--root` names another checkout, to
measure what was before. The flood comes from this machine, over the loopback interface.
"""

import argparse
import base64
import contextlib
import http.client
import json
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.flood_media import dripping_server, edited_clip
from bench.local_farm import ROOT, SHOT
from bench.local_gateway import redis_server, served
from bench.report import p50, p99, show
from farm.config import CONFIG_ENV, RedisSettings, Settings
from farm.embedded.ports import free_port
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import Ledger, connect
from farm.tenants.tenants import Tenants

#: seconds that the other tenant's client waits for an answer
_PATIENCE_S = 10.0
_COUNT = 128
#: a model that takes a clip and nothing beside it
_OF_CLIPS = "wan2.2-vace-fun-a14b-tiny"


class Flood:
    """What the attackers have: the gateway's port, a key of their own, and a way to hear that it is over."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key, self.over = port, key, threading.Event()
        self._sockets: list[socket.socket] = []

    def connect(self, begin: bytes = b"") -> socket.socket | None:
        with contextlib.suppress(OSError):
            peer = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            self._sockets.append(peer)
            peer.sendall(begin)
            return peer
        return None

    def held(self, begin: bytes, drip: bytes = b"") -> None:
        """128 connections that begin so, say `drip` once a second, and are opened again when they are closed."""
        peers = [self.connect(begin) for _ in range(_COUNT)]
        while not self.over.wait(1.0):
            for n, peer in enumerate(peers):
                try:
                    assert peer is not None
                    peer.sendall(drip or b"")
                    if peer.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
                        raise ConnectionError
                except BlockingIOError:
                    continue
                except (AssertionError, OSError):
                    peers[n] = self.connect(begin)

    def many(self, threads: int, ask: Callable[[http.client.HTTPConnection], None]) -> None:
        """So many clients that ask as fast as they are answered."""

        def client() -> None:
            while not self.over.is_set():
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    ask(connection)
                    connection.getresponse().read()
                connection.close()

        running = [threading.Thread(target=client, daemon=True) for _ in range(threads)]
        for one in running:
            one.start()
        self.over.wait()

    def close(self) -> None:
        self.over.set()
        for peer in self._sockets:
            peer.close()


def _silent(flood: Flood) -> None:
    while not flood.over.wait(1 / 12):
        flood.connect()


def _post(body: bytes, path: str = "/v1/jobs") -> Callable[[Flood, http.client.HTTPConnection], None]:
    def ask(flood: Flood, connection: http.client.HTTPConnection) -> None:
        headers = {"X-API-Key": flood.key, "Content-Type": "application/json"}
        connection.request("POST", path, body=body, headers=headers)

    return ask


def _clips(flood: Flood) -> None:
    clip = "data:video/mp4;base64," + base64.b64encode(edited_clip()).decode()
    ask = _post(json.dumps({"prompt": "p", "model": _OF_CLIPS, "video": clip}).encode())
    flood.many(64, lambda to: ask(flood, to))


def _fetches(flood: Flood) -> None:
    with dripping_server() as address:
        ask = _post(json.dumps({"prompt": "p", "model": _OF_CLIPS, "image": address}).encode())
        flood.many(64, lambda to: ask(flood, to))


_HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{"
_VALUES = _post(b'{"prompt":"p","a":[' + b"1," * (6 << 20) + b"1]}", "/generate")
_DEEP = _post(b'{"prompt":"p","a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", "/generate")
FLOODS: dict[str, Callable[[Flood], None]] = {
    "none": lambda flood: None,
    "12 silent connections a second, no key": _silent,
    "128 half headers, no key": lambda flood: flood.held(b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nX-A", b"a"),
    "128 stalled bodies, no key": lambda flood: flood.held(_HEAD % 1_000_000),
    "128 refused bodies, a byte a second": lambda flood: flood.held(_HEAD % 2**31, b"a"),
    "8 x 12 MB of small values": lambda flood: flood.many(8, lambda to: _VALUES(flood, to)),
    "8 x 90,000 levels": lambda flood: flood.many(8, lambda to: _DEEP(flood, to)),
    "64 clients that list": lambda flood: flood.many(
        64, lambda to: to.request("GET", "/v1/jobs?limit=200", headers={"X-API-Key": flood.key})
    ),
    "64 x a clip of 100,000 edits": _clips,
    "64 x an address that drips": _fetches,
}


@contextmanager
def gateway(root: Path, folder: Path) -> Iterator[tuple[int, str, str]]:
    """(its port, the attacker's key, the other's)."""
    with redis_server(folder) as url:
        port = free_port()
        urls = RedisSettings(ledger_url=f"{url}/0", broker_url=f"{url}/1")
        settings = Settings(state_dir=folder / "state", redis=urls)
        with connect(settings.redis) as redis:
            tenants = Tenants(redis, settings)
            keys = []
            for name in ("mallory", "victim"):
                tenants.create(name)
                keys.append(tenants.api_keys.create(name)[1])
            status = WorkerStatus(models=(str(SHOT["model"]), _OF_CLIPS))
            Ledger(redis, settings).worker_seen("bench", "default", status, ttl_s=3600)
        # by hand, so that a checkout that knows fewer settings reads it
        text = f'state_dir = "{folder}/state"\n[redis]\nledger_url = "{url}/0"\nbroker_url = "{url}/1"\n'
        text += '[intake]\nallow_networks = ["127.0.0.0/8"]\n'
        (folder / "farm.toml").write_text(text, encoding="utf-8")
        environment = {"PYTHONPATH": str(root), CONFIG_ENV: str(folder / "farm.toml")}
        with served("api.app:create_app()", port, environment, folder):
            yield port, keys[0], keys[1]


def _call(port: int, key: str) -> float | None:
    """Milliseconds of one call on a connection of its own; None when it was not answered."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", "/v1/jobs?limit=1", headers={"X-API-Key": key})
        if connection.getresponse().status != 200:
            return None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return (time.perf_counter() - began) * 1000


def measure(
    port: int, attacker: str, victim: str, flood: Callable[[Flood], None], seconds: float
) -> list[float | None]:
    """The victim's calls, one every 50 ms or when the last one ended."""
    attack = Flood(port, attacker)
    running = threading.Thread(target=flood, args=(attack,), daemon=True)
    running.start()
    time.sleep(2.0)
    calls: list[float | None] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        calls.append(_call(port, victim))
        time.sleep(0.05)
    attack.close()
    running.join(30)
    time.sleep(3.0)
    return calls


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floods", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each flood")
    parser.add_argument("--only", default="", metavar="WORDS", help="floods whose names have these words")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose gateway is measured")
    asked = parser.parse_args(argv)
    rows: list[tuple[str | float, ...]] = []
    for name, flood in FLOODS.items():
        if asked.only not in name:
            continue
        with tempfile.TemporaryDirectory(prefix="wanfarm-floods-") as place, gateway(asked.root, Path(place)) as given:
            calls = measure(*given, flood, asked.seconds)
        took = [one for one in calls if one is not None]
        print(f"{name}: {len(took)} of {len(calls)}", flush=True)
        rows.append((name, f"{len(took)} of {len(calls)}", p50(took) if took else "-", p99(took) if took else "-"))
    show(
        "Another tenant's GET /v1/jobs beside a flood",
        ("flood", "answered", "p50 ms", "p99 ms"),
        rows,
        f"an answer counts within {_PATIENCE_S:g} s; aim: all of them, p99 under a second",
        server=f"the gateway of {asked.root.name}",
    )


if __name__ == "__main__":
    main()
