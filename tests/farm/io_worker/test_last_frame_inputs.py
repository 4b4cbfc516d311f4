"""A shot that starts from the last frame of another: intake reads it from that one's result."""

from pathlib import Path

import av
import numpy as np
import pytest
from redis import Redis

from farm.batches.admission import BatchAdmission
from farm.batches.manifest import NDJSON
from farm.config import Settings
from farm.io_worker.take_in import TakeIn
from farm.jobs.job import Artifacts
from farm.jobs.states import HoldReason, State
from farm.jobs.worker_status import WorkerStatus
from farm.ledger import INTAKE_POOL, Ledger
from farm.storage.store import Store
from farm.submission.submit import Submissions

MODEL = "wan2.2-ti2v-5b-tiny"


class Nobody:
    def publish(self, permits: object) -> None: ...


@pytest.fixture
def ledger(redis: Redis, settings: Settings) -> Ledger:
    ledger = Ledger(redis, settings)
    ledger.worker_seen("w", "default", WorkerStatus(models=(MODEL,), device="cpu"), ttl_s=600)
    return ledger


def clip(path: Path) -> None:
    """Nine frames, the last one red."""
    with av.open(str(path), "w") as box:
        stream = box.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        for n in range(9):
            colour = (255, 0, 0) if n == 8 else (0, 0, 255)
            frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), colour, np.uint8), format="rgb24")
            box.mux(stream.encode(frame))
        box.mux(stream.encode())


def test_the_last_frame_becomes_the_first(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    store = Store(settings.s3)
    batches = BatchAdmission(settings, ledger, Submissions(settings, ledger, store, Nobody()), Nobody())
    body = tmp_path / "shots.jsonl"
    common = f'"model": "{MODEL}", "width": 128, "height": 128, "frames": 9'
    body.write_text(
        f'{{"prompt": "a", "id": "a", {common}}}\n'
        f'{{"prompt": "b", "start_from": "last frame of a", "model": "{MODEL}", "frames": 9}}\n'
    )
    with body.open("rb") as file:
        planned = batches.plan("alice", file, NDJSON, {}, 1)
    came = batches.admit("alice", planned)
    first, second = ledger.page("alice", batch=came.id, oldest_first=True).jobs
    assert second.held_for == (HoldReason.DEPENDENCY,)
    assert ledger.claim(INTAKE_POOL, "io") is None

    claim = ledger.claim("default", "w")
    assert claim is not None
    assert claim.job.id == first.id
    clip(tmp_path / "video.mp4")
    store.put_file("results/alice/video.mp4", tmp_path / "video.mp4", "video/mp4")
    files = Artifacts("results/alice/video.mp4", "p", "r", 1, "ab" * 32, 128, 128, 9, 8.0, 1.125)
    ledger.commit(first.id, claim.attempt, files, gpu_s=1.0)

    intake = ledger.claim(INTAKE_POOL, "io")
    assert intake is not None
    assert intake.job.id == second.id
    TakeIn(settings, ledger, store).run(intake)
    job = ledger.find(second.id)
    assert job is not None
    assert (job.state, job.held_for) == (State.QUEUED, ())
    image = job.spec.inputs["image"]
    assert image.key is not None
    assert (image.width, image.height, image.content_type) == (128, 128, "image/png")
    from PIL import Image

    store.get_file(image.key, tmp_path / "first.png")
    red, green, blue = Image.open(tmp_path / "first.png").convert("RGB").getpixel((64, 64))  # type: ignore[misc]
    assert red > 200
    assert max(green, blue) < 60
