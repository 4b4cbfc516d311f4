"""A gateway on real parts that everybody's clients may come to: prices, receivers on the loopback interface, models."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from dialect_parts import ANIMATE, I2V, PUBLIC, T2V, Worker, clip
from flask import Flask
from receiver import Receiver
from redis import Redis

from api.app import create_app
from api.services import Services
from farm.claiming.permits import Permits
from farm.config import DialectRetries, Settings
from farm.guard import Guard
from farm.intake.intake import Intake
from farm.submission.submit import Submissions
from tests.api.api_parts import picture
from tests.api.gateway_thread import served


@pytest.fixture
def settings(settings: Settings) -> Settings:
    rates = {"480p": 1.5, "580p": 2.0, "720p": 2.5}
    return settings.model_copy(
        update={
            "prices": settings.prices.model_copy(update={"per_second": dict.fromkeys((T2V, I2V, ANIMATE), rates)}),
            "intake": settings.intake.model_copy(update={"allow_networks": ("127.0.0.0/8",)}),
            "webhooks": settings.webhooks.model_copy(
                update={"first_retry_s": 0.05, "dialects": {"apixo": DialectRetries(first_retry_s=0.05)}}
            ),
        }
    )


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Iterator[Flask]:
    made = create_app(settings)
    found: Services = made.extensions["wanfarm"]
    # the documents name hosts of the internet, which tests do not ask: every name there is has a public address
    intake = Intake(settings, found.store, Guard(settings.intake, resolver=lambda _name, _s: [PUBLIC]))
    wake, price = Permits(settings), found.prices.hold
    submissions = Submissions(settings, found.ledger, found.store, wake, intake=intake, price=price)
    made.extensions["wanfarm"] = replace(found, submissions=submissions)
    yield made
    found.redis.close()


@pytest.fixture
def worker(parts: Services) -> Worker:
    """A worker that offers all that the dialects of these tests ask for."""
    made = Worker(parts.ledger, parts.store)
    made.offer(T2V, I2V, ANIMATE)
    return made


@pytest.fixture
def door(app: Flask, worker: Worker) -> Iterator[str]:
    """The gateway at a real port."""
    with served(app) as url:
        yield url


@pytest.fixture
def files(tmp_path: Path) -> Iterator[str]:
    """An address with character.png and motion.mp4 (one second) below it."""
    (tmp_path / "character.png").write_bytes(picture())
    (tmp_path / "motion.mp4").write_bytes(clip())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def receivers() -> Iterator[Callable[..., Receiver]]:
    made: list[Receiver] = []

    def make(**how: int) -> Receiver:
        made.append(Receiver(**how))
        return made[-1]

    yield make
    for one in made:
        one.close()
