"""The real engine: torch and diffusers on tiny weights, in a child process, over the pipes."""

import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import preloaded
import pytest

from farm.config import Settings, SpeedSettings, WorkerSettings
from farm.engine import process
from farm.engine.process import Engine
from farm.engine.slots import Slot
from models import catalog
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, Stage

pytestmark = pytest.mark.xdist_group("e2e-real")
MODEL = "wan2.2-t2v-a14b-tiny"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    state = tmp_path_factory.mktemp("state")
    worker = WorkerSettings(models_dir=state / "models", models=(MODEL,), gpu_memory_gb=30, fp8_to_fit=True)
    speed = SpeedSettings(warm=(f"{MODEL} 64x64x9", "no-such-model 64x64x9"), fuse_qkv="on")
    engine = Engine(Settings(state_dir=state, worker=worker, speed=speed), Slot("cpu-0"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": preloaded.Renders}))
        engine.start()
    yield engine
    engine.kill()


def request(out: Path, **changes: object) -> RenderRequest:
    out.mkdir()
    values = {"width": 64, "height": 64, "frames": 9, "fps": 16, "steps": 4, "seed": 7, "shift": 5.0} | changes
    return RenderRequest(
        MODEL,
        "t2v",
        "a lighthouse",
        "",
        guidance=4.0,
        guidance_2=3.0,
        out_dir=str(out),
        **values,  # type: ignore[arg-type]
    )


Tell = Callable[[Progress], None]


def test_a_cancelled_render_leaves_the_next_one_as_if_it_had_never_been(engine: Engine, tmp_path: Path) -> None:
    assert engine.facts["models"] == [MODEL], "what was configured, of what is here"
    told = {"device_bytes": 30e9, "host_bytes": None, "fp8": True}
    assert engine.facts["device"]["memory"] == told, "what admission may count on"
    pid = engine.pid
    seen: list[Progress] = []
    first = engine.render("a:1", request(tmp_path / "a"), seen.append)
    assert engine.lane == catalog.get(MODEL).lane
    assert [stage for stage in Stage if any(p.stage == stage for p in seen)] == list(Stage)
    with av.open(first.video) as video:
        assert sum(1 for _ in video.decode(video=0)) == 9
    # the operator's wishes arrived; the model was warm, and what could not be warmed did no harm
    assert first.recipe["speed"]["fuse_qkv"] is True

    steps: list[int] = []

    def stop(at: Progress) -> None:
        steps.append(at.step)
        if at.step == 2:
            engine.cancel("b:1")

    with pytest.raises(Cancelled):
        engine.render("b:1", request(tmp_path / "b", steps=100, seed=8), stop)
    assert max(steps) < 20, "long before the end"
    assert not any((tmp_path / "b").iterdir())

    again = engine.render("c:1", request(tmp_path / "c"), lambda _: None)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]
    assert engine.pid == pid


def test_the_next_one_is_ready_when_the_last_is_drawn(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    following = replace(request(tmp_path / "g", seed=21), prompt="a lighthouse at night")
    asked = threading.Event()

    def tell(at: Progress) -> None:
        if at.step and not asked.is_set():
            asked.set()
            engine.prefetch("g:1", following)

    def drawn() -> None:
        logging.getLogger("farm.engine.process").debug("f:1: drawn")

    with caplog.at_level(logging.DEBUG, "farm.engine.process"):
        # many steps: the next one's text is encoded during one of them
        engine.render("f:1", request(tmp_path / "f", seed=22, steps=100), tell, on_rendered=drawn)
    assert caplog.messages == ["g:1: texts at hand", "f:1: drawn"]
    ready = engine.render("g:1", following, lambda _: None)
    again = replace(following, out_dir=str(request(tmp_path / "h").out_dir))
    assert engine.render("h:1", again, lambda _: None).recipe["frames_sha256"] == ready.recipe["frames_sha256"]


def test_what_the_model_does_not_take_is_a_fault_of_the_request(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(RenderFault) as fault:
        engine.render("d:1", request(tmp_path / "d", frames=10), lambda _: None)
    assert fault.value.code == "invalid_input"
    assert engine.alive


def test_cancel_arrives_in_every_stage(engine: Engine, tmp_path: Path) -> None:
    """As said, not as done: what is asked while one stage runs may stop the next. Encoding, the last, is too short."""
    before = engine.render("e:1", request(tmp_path / "e"), lambda _: None)
    for stage in (Stage.LOADING, Stage.PREPROCESSING, Stage.DENOISING, Stage.DECODING):
        render = f"{stage}:1"

        def stop(at: Progress, stage: Stage = stage, render: str = render) -> None:
            if at.stage is stage:
                engine.cancel(render)

        with pytest.raises(Cancelled):
            engine.render(render, request(tmp_path / stage, frames=121, seed=8), stop)
        assert not any((tmp_path / stage).iterdir())
    again = engine.render("f:1", request(tmp_path / "f"), lambda _: None)
    assert again.recipe["frames_sha256"] == before.recipe["frames_sha256"]
