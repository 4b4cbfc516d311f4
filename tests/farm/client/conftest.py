"""A gateway that listens, a tenant's client for it, and a hand that makes a worker's moves."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from redis import Redis
from werkzeug.serving import make_server

from api.app import create_app
from api.services import Services
from farm.client import Client
from farm.config import Settings
from farm.jobs.job import Artifacts, Claim
from farm.jobs.roles import Role
from farm.ledger import CommitOutcome
from farm.storage.object_keys import result_key
from tests.api.api_parts import POOL, TINY, Hand

VIDEO = b"a video, as far as the farm cares"


@dataclass
class Gateway:
    url: str
    parts: Services
    hand: Hand

    def client(self, tenant: str = "studio", role: str = Role.MEMBER, **more: float) -> Client:
        if self.parts.tenants.get(tenant) is None:
            self.parts.tenants.create(tenant)
        return Client(self.url, self.parts.tenants.api_keys.create(tenant, role=role)[1], **more)

    def commit(self, claim: Claim, *, sha256: str | None = None) -> None:
        """The claimed job succeeds with VIDEO as its result."""
        job = claim.job
        keys = [result_key(job.tenant, job.id, claim.attempt, n) for n in ("video.mp4", "poster.jpg", "recipe.json")]
        recipe = json.dumps({"provenance": {"job": job.id}}).encode()
        kinds = ("video/mp4", "image/jpeg", "application/json")
        for key, data, kind in zip(keys, (VIDEO, b"poster", recipe), kinds, strict=True):
            self.parts.store.put_bytes(key, data, kind)
        digest = sha256 or hashlib.sha256(VIDEO).hexdigest()
        spec = job.spec
        shape = (spec.width, spec.height, spec.frames, spec.fps, spec.frames / spec.fps)
        files = Artifacts(*keys, len(VIDEO), digest, *shape)
        assert self.parts.ledger.commit(job.id, claim.attempt, files, gpu_s=1.0) is CommitOutcome.COMMITTED


@pytest.fixture
def gateway(settings: Settings, redis: Redis) -> Iterator[Gateway]:
    app = create_app(settings)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    # event streams would keep the server from closing: its threads end with the process
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    parts: Services = app.extensions["wanfarm"]
    parts.store.ensure_bucket()
    hand = Hand(parts.ledger, parts.store)
    hand.offer(TINY)
    yield Gateway(f"http://127.0.0.1:{server.port}", parts, hand)
    server.shutdown()
    server.server_close()
    parts.redis.close()


@pytest.fixture
def farm(gateway: Gateway) -> Iterator[Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def claimed(gateway: Gateway) -> Callable[[], Claim]:
    def claim() -> Claim:
        found = gateway.parts.ledger.claim(POOL, "hand")
        assert found is not None
        return found

    return claim
