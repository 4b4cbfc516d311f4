"""Everybody's clients on one farm with the real engine: each asks, polls and downloads in its own words."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import av
import httpx
import numpy as np
import pytest
from e2e_laws import audit_end
from harness import Farm
from PIL import Image

from farm.jobs.states import TERMINAL, State
from farm.wire import apixo, crun, kie, openai, wiro, wiro_task
from farm.wire.report import Report

pytestmark = pytest.mark.xdist_group("e2e-real")


@pytest.fixture
def farm(real_farm: Farm) -> Farm:
    real_farm.acknowledged.clear()
    return real_farm


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An address with a picture and a clip of six frames below it."""
    folder = tmp_path_factory.mktemp("media")
    Image.linear_gradient("L").convert("RGB").resize((128, 128)).save(folder / "character.png")
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as box:
        stream: Any = box.add_stream("libx264", rate=12)
        stream.width = stream.height = 128
        for n in range(6):
            pixels = np.roll(np.linspace(0, 255, 128 * 128 * 3).astype(np.uint8).reshape(128, 128, 3), n * 5, 0)
            box.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        box.mux(stream.encode())
    (folder / "motion.mp4").write_bytes(out.getvalue())
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def web(farm: Farm) -> Iterator[httpx.Client]:
    notes = farm.notes
    keys = {"Authorization": f"Bearer {notes['key']}", "X-API-Key": notes["key"]}
    with httpx.Client(base_url=notes["url"], headers=keys, timeout=90) as client:
        yield client


def ask_kie(web: httpx.Client, model: str, given: dict[str, Any]) -> Callable[[], Report]:
    made = web.post("/api/v1/jobs/createTask", json={"model": model, "input": given}).json()
    task = kie.parse_created(made)
    return lambda: kie.parse_status(web.get("/api/v1/jobs/recordInfo", params={"taskId": task}).json())


def ask_apixo(web: httpx.Client, given: dict[str, Any]) -> Callable[[], Report]:
    task = apixo.parse_created(web.post("/api/v1/generateTask/wan-2-2-animate", json={"input": given}).json())
    where = "/api/v1/statusTask/wan-2-2-animate"
    return lambda: apixo.parse_status(web.get(where, params={"taskId": task}).json())


def ask_crun(web: httpx.Client, model: str, given: dict[str, Any]) -> Callable[[], Report]:
    made = web.post("/api/v1/client/job/CreateTask", json={"model": model, "input": given}).json()
    task = crun.parse_created(made)
    return lambda: crun.parse_status(web.get("/api/v1/client/job/TaskInfo", params={"task_id": task}).json())


def ask_wiro(web: httpx.Client, given: dict[str, Any]) -> Callable[[], Report]:
    task, _ = wiro.parse_created(web.post("/v1/Run/Wan-AI/Wan2.2-I2V-A14B", json=given).json())
    return lambda: wiro_task.parse_status(web.post("/v1/Task/Detail", json={"taskid": task}).json())


def ask_openai(web: httpx.Client, given: dict[str, Any]) -> Callable[[], Report]:
    video = openai.parse_created(web.post("/v1/videos", json=given).json())
    return lambda: openai.parse_status(web.get(f"/v1/videos/{video}").json())


def frames_of(video: bytes) -> int:
    """Frames that a player finds in it."""
    with av.open(io.BytesIO(video)) as box:
        return sum(1 for _ in box.decode(video=0))


def finished(farm: Farm, look: Callable[[], Report]) -> Report:
    farm.wait(lambda: look().state in TERMINAL, "a client's video", pause_s=0.5)
    return look()


def test_every_client_gets_a_video(farm: Farm, web: httpx.Client, media: str) -> None:
    looks = {
        "kie": ask_kie(web, "wan/2-2-a14b-text-to-video-turbo", {"prompt": "a fox", "resolution": "480p"}),
        "wiro": ask_wiro(web, {"inputImageUrl": f"{media}/character.png", "prompt": "wave", "resolution": "480P"}),
        "openai": ask_openai(web, {"prompt": "a fox"}),
    }
    for name, look in looks.items():
        report = finished(farm, look)
        assert report.state is State.SUCCEEDED, (name, report.fault)
        # a signed address takes no key; OpenAI's is a path behind it
        video = web.get(report.urls[0]) if name == "openai" else httpx.get(report.urls[0])
        assert frames_of(video.content) > 4, name


def test_animate_in_each_dialect_that_has_it(farm: Farm, web: httpx.Client, media: str) -> None:
    picture, clip = f"{media}/character.png", f"{media}/motion.mp4"
    lists = {"video_urls": [clip], "resolution": "480p"}
    looks = {
        "kie move": ask_kie(web, "wan/2-2-animate-move", {"image_url": picture, "video_url": clip}),
        "kie replace": ask_kie(web, "wan/2-2-animate-replace", {"image_url": picture, "video_url": clip}),
        "apixo": ask_apixo(web, {"type": "animate", "mode": "standard", "image_urls": [picture], **lists}),
        "crun": ask_crun(web, "wan/2-2-animate-replace", {"img_urls": [picture], **lists}),
    }
    for name, look in looks.items():
        report = finished(farm, look)
        assert report.state is State.SUCCEEDED, (name, report.fault)
        assert frames_of(httpx.get(report.urls[0]).content) > 4, name
    audit_end(farm)
