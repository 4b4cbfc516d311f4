"""A stranger's path on a farm with the real engine: ask over HTTP, wait, download, look closely; cancel; again."""

import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest
from e2e_laws import audit_end, decoded
from harness import Farm
from PIL import Image

from farm.jobs.states import Phase, State
from models.media.output import read_recipe

pytestmark = pytest.mark.xdist_group("e2e-real")
SHOT: dict[str, Any] = {"width": 128, "height": 64, "frames": 9, "fps": 12, "steps": 3, "seed": 7}
T2V, I2V = "wan2.2-t2v-a14b-tiny", "wan2.2-ti2v-5b-tiny"


@pytest.fixture
def farm(real_farm: Farm) -> Iterator[Farm]:
    real_farm.acknowledged.clear()
    yield real_farm
    real_farm.settle()
    audit_end(real_farm)


@pytest.fixture
def picture_url() -> Iterator[str]:
    """A web server with one picture."""
    png = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((320, 160)).save(png, "PNG")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(png.getvalue())))
            self.end_headers()
            self.wfile.write(png.getvalue())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/fox.png"
        server.shutdown()


def test_post_to_download_and_the_same_frames_again(farm: Farm, tmp_path: Path) -> None:
    job_id = farm.submit("a red fox runs through snow", **{**SHOT, "model": T2V})
    with farm.client as client:
        states = [event.data["state"] for event in client.jobs.events(job_id)]
        files = client.jobs.download(job_id, tmp_path / "out")
    assert states[-1] == State.SUCCEEDED
    assert states.count(State.SUCCEEDED) == 1

    video = decoded(files.video)
    assert (video.frames, video.width, video.height, video.rate) == (9, 128, 64, 12.0)
    assert (video.codec, video.pixels) == ("h264", "yuv420p")
    content = files.video.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat"), "a player would need the whole file to begin"
    assert Image.open(files.poster).size == (128, 64)
    recipe = json.loads(files.recipe.read_text())
    inside = read_recipe(files.video)
    assert inside == {name: recipe[name] for name in inside}
    assert set(recipe) - set(inside) <= {"poster_frame", "timings_s"}, "only what was not yet known may be missing"
    assert (recipe["prompt"], recipe["seed"]) == ("a red fox runs through snow", 7)

    again = preloaded.Renders(
        [
            *(sys.executable, "-m", "farm.cli", "rerender", files.recipe, "--json"),
            *("--state-dir", farm.state_dir, "--to", tmp_path / "again"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said, troubles = again.communicate(timeout=120)
    assert again.returncode == 0, troubles
    assert json.loads(said)["frames_sha256"] == recipe["frames_sha256"]


def test_a_picture_by_address_becomes_a_video(farm: Farm, picture_url: str, tmp_path: Path) -> None:
    job_id = farm.submit("the fox looks up", **{**SHOT, "model": I2V}, image=picture_url)
    [job] = farm.wait_over(job_id)
    assert job.state is State.SUCCEEDED, job.error
    assert job.inputs["image"].sha256
    with farm.client as client:
        files = client.jobs.download(job_id, tmp_path)
    assert decoded(files.video).frames == 9
    assert json.loads(files.recipe.read_text())["inputs"] == {"image": job.inputs["image"].sha256}


def test_a_cancel_leaves_the_model_warm_and_the_next_job_right(farm: Farm, tmp_path: Path) -> None:
    def frames_of(job_id: str) -> str:
        with farm.client as client:
            recipe = client.jobs.download(job_id, tmp_path / job_id).recipe
        return str(json.loads(recipe.read_text())["frames_sha256"])

    [before] = farm.wait_over(farm.submit("the same", **{**SHOT, "model": T2V}))
    engines = farm.pids("engine")

    long_id = farm.submit("too long", **{**SHOT, "model": T2V, "width": 256, "height": 256, "frames": 81, "steps": 100})
    ledger = farm.ledger()
    farm.wait(lambda: (job := ledger.find(long_id)) and job.phase == Phase.DENOISING and job.step, "a step")
    with farm.client as client:
        client.jobs.cancel(long_id)
    [cancelled] = farm.wait_over(long_id)
    assert cancelled.state is State.CANCELLED
    assert cancelled.result is None

    after_id = farm.submit("the same", **{**SHOT, "model": T2V})
    with farm.client as client:
        phases = {event.data.get("phase") for event in client.jobs.events(after_id)}
    assert farm.pids("engine") == engines
    assert Phase.LOADING not in phases
    assert frames_of(after_id) == frames_of(before.id)
