"""Clients that submit as fast as they are answered, to several gateways in turns."""

import argparse
import http.client
import json
import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.pool import Pool

from bench.local_farm import SHOT
from bench.local_gateway import LocalGateways, ServedGateway
from bench.report import p50, p99

PATH = "/v1/jobs"
BODY = json.dumps({"prompt": "a red fox runs through deep snow, morning light", "seed": 7, **SHOT}).encode()
_CLIENTS = 2
#: requests on one connection: which of gunicorn's processes takes a connection is chance, and a long one would keep it
_PER_CONNECTION = 20
#: of a row that in_turns answers
COLUMNS = ("requests", "per second", "p50 ms", "p99 ms", "gateway CPU ms", "Redis CPU ms")


def turns_parser(prog: str, description: str | None, *, seconds: float, turns: int) -> argparse.ArgumentParser:
    """What a bench of this kind is asked."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--seconds", type=float, default=seconds, help="of one turn")
    parser.add_argument("--turns", type=int, default=turns)
    parser.add_argument("--clients", type=int, default=8, help="connections at once")
    return parser


def in_turns(
    ground: LocalGateways,
    cases: Mapping[str, ServedGateway],
    asked: argparse.Namespace,
    during: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext(),
) -> dict[str, tuple[float, ...]]:
    """Case -> its row of COLUMNS. Every case meets the same machine; `during` is what goes on in a turn of a case."""
    headers = {"X-API-Key": ground.key, "Content-Type": "application/json"}
    took: dict[str, list[float]] = {name: [] for name in cases}
    used = {name: [0.0, 0.0] for name in cases}
    with multiprocessing.get_context("spawn").Pool(_CLIENTS) as clients:
        for port in {one.port for one in cases.values()}:
            load(clients, port, headers, asked.clients, 1.0)  # connections, caches, scripts
        for _ in range(asked.turns):
            for name, gateway in cases.items():
                with during(name):
                    before = ground.cpu_s(gateway)
                    took[name] += load(clients, gateway.port, headers, asked.clients, asked.seconds)
                    after = ground.cpu_s(gateway)
                used[name] = [u + a - b for u, a, b in zip(used[name], after, before, strict=True)]
    return {name: _figures(took[name], used[name], asked.turns * asked.seconds) for name in cases}


def ratio(rows: Mapping[str, Sequence[float]], name: str, over: str) -> tuple[object, ...]:
    """The row of one case against that of another."""
    return (f"{name} / {over}", "", *(a / b for a, b in zip(rows[name][1:], rows[over][1:], strict=True)))


def load(clients: Pool, port: int, headers: dict[str, str], threads: int, seconds: float) -> list[float]:
    """Milliseconds of every request that a few kept-alive clients get through in that time."""
    share = [(port, headers, threads // _CLIENTS, seconds)] * _CLIENTS
    return [one for part in clients.starmap(_client, share) for one in part]


def _client(port: int, headers: dict[str, str], threads: int, seconds: float) -> list[float]:
    took: list[list[float]] = [[] for _ in range(threads)]

    def ask(mine: list[float]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            if len(mine) % _PER_CONNECTION == 0:
                connection.close()
            connection.request("POST", PATH, body=BODY, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 201:
                raise RuntimeError(f"HTTP {answer.status}")
            mine.append((time.perf_counter() - began) * 1000)
        connection.close()

    running = [threading.Thread(target=ask, args=(mine,)) for mine in took]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if not all(took):
        raise RuntimeError("a client was refused")
    return [one for mine in took for one in mine]


def _figures(took: Sequence[float], used: Sequence[float], seconds: float) -> tuple[float, ...]:
    gateway_s, redis_s = used
    return (
        *(len(took), len(took) / seconds, p50(took), p99(took)),
        *(gateway_s / len(took) * 1000, redis_s / len(took) * 1000),
    )
