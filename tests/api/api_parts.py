"""What the tests of the gateway share: a client with a key, and a hand that makes a worker's moves."""

import io
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from farm.jobs.job import Artifacts, Claim
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import CommitOutcome, Ledger
from farm.storage.object_keys import result_key
from farm.storage.store import Store

TINY = "wan2.2-ti2v-5b-tiny"
POOL = "default"
#: what a committed video of these tests consists of
VIDEO = b"video" * 400


@dataclass
class Caller:
    """A client that sends its key with everything."""

    client: FlaskClient
    tenant: str
    key: str

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> TestResponse:
        return self.ask("POST", path, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.ask("DELETE", path, **more)

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        both = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        return self.client.open(path, method=method, headers=both, **more)

    def submit(self, prompt: str = "a fox in snow", **body: Any) -> dict[str, Any]:
        answer = self.post("/v1/jobs", json={"prompt": prompt, **body})
        assert answer.status_code == 201, answer.text
        made = answer.json
        assert isinstance(made, dict)
        return made


@dataclass
class Hand:
    """A worker's moves, one at a time."""

    ledger: Ledger
    store: Store
    name: str = "hand"

    def offer(self, *models: str) -> None:
        self.ledger.worker_seen(self.name, POOL, WorkerStatus(models=models, device="cpu"), ttl_s=600)

    def claim(self) -> Claim:
        claim = self.ledger.claim(POOL, self.name)
        assert claim is not None
        return claim

    def progress(self, claim: Claim, step: int, steps: int) -> None:
        self.ledger.heartbeat(
            claim.job.id, claim.attempt, phase="denoising", progress=step / steps * 0.9, step=step, steps=steps
        )

    def finish(self, claim: Claim) -> None:
        job = claim.job
        keys = [result_key(job.tenant, job.id, claim.attempt, n) for n in ("video.mp4", "poster.jpg", "recipe.json")]
        for key, kind in zip(keys, ("video/mp4", "image/jpeg", "application/json"), strict=True):
            self.store.put_bytes(key, VIDEO, kind)
        spec = job.spec
        files = Artifacts(
            *keys, len(VIDEO), "ab" * 32, spec.width, spec.height, spec.frames, spec.fps, spec.frames / spec.fps
        )
        assert self.ledger.commit(job.id, claim.attempt, files, gpu_s=1.0) is CommitOutcome.COMMITTED


def picture(width: int = 128, height: int = 128, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 80, 20)).save(out, form)
    return out.getvalue()
