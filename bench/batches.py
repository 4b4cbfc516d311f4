"""How long 100,000 shots take in one request, and how much memory: the real gateway, a durable answer, every shot
checked and priced. Beside it, in the same run: publishing them one by one with Celery's .delay()."""

import argparse
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from bench.bare import bare_app
from bench.local_farm import SHOT
from bench.local_gateway import local_gateways
from bench.report import p50, p99, show
from farm.config import Settings
from farm.config.gateway import GatewaySettings
from farm.jobs.states import State
from farm.ledger import Ledger, connect

PROMPT = "a red fox walks through fresh snow at dawn, slow dolly-in, breath visible in the cold air, shot {}"
#: .delay() is timed on so many: one is as long as another
DELAYED = 5_000
_EVERY_S = 0.005


def manifest(shots: int) -> bytes:
    """JSON lines, each with its own prompt and seed."""
    return b"".join(json.dumps({"prompt": PROMPT.format(n), "seed": n, **SHOT}).encode() + b"\n" for n in range(shots))


@contextmanager
def heartbeats(settings: Settings) -> Iterator[list[float]]:
    """Milliseconds that a script of a worker takes meanwhile, one after another."""
    took: list[float] = []
    stop = threading.Event()
    with connect(settings.redis) as redis:
        ledger = Ledger(redis, settings)

        def ask() -> None:
            while not stop.wait(_EVERY_S):
                began = time.perf_counter()
                ledger.heartbeat("01900000-0000-7000-8000-000000000000", 1)
                took.append(1000 * (time.perf_counter() - began))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield took
        finally:
            stop.set()
            thread.join()


def rss_mb(gunicorn: psutil.Process) -> float:
    """Of the largest of the gateway's processes, at its highest."""
    peaks = []
    for child in gunicorn.children():
        status = Path(f"/proc/{child.pid}/status").read_text()
        peaks.append(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
    return max(peaks)


def delayed(broker: str, count: int) -> tuple[float, float]:
    """(per second, CPU ms of one) of .delay() with a whole shot, by Celery's own settings."""

    def shot(**_: object) -> None:
        """What a worker would do with it, who is not asked here."""

    task = bare_app(broker).task(name="bare.shot")(shot)
    task.delay(prompt="first", **SHOT)
    began, used = time.perf_counter(), time.process_time()
    for n in range(count):
        task.delay(prompt=PROMPT.format(n), seed=n, **SHOT)
    return count / (time.perf_counter() - began), 1000 * (time.process_time() - used) / count


def _placed(client: httpx.Client, path: str, since: float) -> float:
    """Seconds from `since`, of perf_counter, until every job is in its queue."""
    while client.get(path).json()["state"] == "placing":
        time.sleep(0.05)
    return time.perf_counter() - since


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.batches", description=__doc__)
    parser.add_argument("--shots", type=int, default=100_000)
    asked = parser.parse_args(argv)
    with local_gateways(GatewaySettings(processes=1)) as ground, ExitStack() as running:
        gateway, server = ground.serve("farm"), ground.server()
        headers = {"X-API-Key": ground.key, "Content-Type": "application/x-ndjson"}
        client = running.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", headers=headers, timeout=600)
        )
        client.post("/v1/batches", content=manifest(10)).raise_for_status()
        body, before_mb, before = manifest(asked.shots), rss_mb(gateway.process), ground.cpu_s(gateway)
        with heartbeats(ground.settings) as beats:
            began = time.perf_counter()
            answer = client.post("/v1/batches", content=body)
            took_s = time.perf_counter() - began
            whole_s = took_s + _placed(client, answer.headers["Location"], began + took_s)
        after = ground.cpu_s(gateway)
        if answer.status_code != 201 or answer.json()["counts"][State.QUEUED] != asked.shots:
            raise RuntimeError(answer.text)
        per_s, delay_cpu_ms = delayed(f"{ground.redis_url}/3", DELAYED)
        used_s, redis_s = (a - b for a, b in zip(after, before, strict=True))
        show(
            f"{asked.shots:,} shots in one POST /v1/batches",
            ("", "seconds", "per second", "CPU s of sender", "CPU s of Redis", "peak RSS MB"),
            [
                (
                    "farm: checked, priced, durable",
                    took_s,
                    asked.shots / took_s,
                    used_s,
                    redis_s,
                    rss_mb(gateway.process),
                ),
                ("all of them in their queues", whole_s, asked.shots / whole_s, "", "", ""),
                ("gateway before it", "", "", "", "", before_mb),
                (
                    "Celery .delay(), one by one",
                    asked.shots / per_s,
                    per_s,
                    asked.shots * delay_cpu_ms / 1000,
                    "",
                    "",
                ),
                (
                    "farm / Celery",
                    "",
                    asked.shots / took_s / per_s,
                    used_s / (asked.shots * delay_cpu_ms / 1000),
                    "",
                    "",
                ),
            ],
            f"a heartbeat meanwhile: p50 {p50(beats):.2f} ms, p99 {p99(beats):.2f} ms, longest {max(beats):.2f} ms; "
            f".delay() timed on {DELAYED:,}; aims: 5 s, 200 MB, 20x",
            server=server,
        )


if __name__ == "__main__":
    main()
