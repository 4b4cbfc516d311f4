"""While the device draws, the last render is encoded and the next one's texts and inputs are made ready; and texts that
were seen are not encoded again."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_parts import I2V, T2V, TI2V, Render, film, moving, request_for

from models.planning.plan import MemoryPlan, Where
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, Stage
from models.render.renderer import Renderer


def test_one_render_is_finished_while_the_next_is_drawn(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    alone = [render(seed=seed).recipe["frames_sha256"] for seed in (1, 2)]
    order: list[str] = []
    drawing = threading.Event()

    def told(name: str) -> Any:
        def tell(progress: Progress) -> None:
            order.append(f"{name} {progress.stage}")
            if name == "second" and progress.stage is Stage.DENOISING:
                drawing.set()
                assert encoded.wait(90)

        return tell

    encoded = threading.Event()
    first = renderer.render_frames(request_for(tmp_path / "first"), told("first"), lambda: False)
    results: list[Any] = []

    def finish() -> None:
        assert drawing.wait(90)
        results.append(first.finish())
        encoded.set()

    thread = threading.Thread(target=finish)
    thread.start()
    second = renderer.render_frames(request_for(tmp_path / "second", seed=2), told("second"), lambda: False)
    thread.join()
    results.append(second.finish())
    assert [result.recipe["frames_sha256"] for result in results] == alone
    assert order.index("first encoding") < order.index("second decoding")


def test_a_text_is_encoded_once(renderer: Renderer, render: Render) -> None:
    render(prompt="a red star", negative_prompt="static")
    loaded = renderer._loaded
    assert loaded is not None
    calls: list[Any] = []
    encoder = loaded.pipe_for("t2v").text_encoder
    hook = encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        again = render(prompt="a red star", negative_prompt="static", seed=9)
        assert calls == []
        other = render(prompt="a blue star", negative_prompt="static", seed=9)
        assert len(calls) == 1
    finally:
        hook.remove()
    assert again.recipe["frames_sha256"] != other.recipe["frames_sha256"]
    renderer.unload()
    fresh = render(T2V, prompt="a red star", negative_prompt="static", seed=9)
    assert fresh.recipe["frames_sha256"] == again.recipe["frames_sha256"]


def test_only_the_latest_texts_are_remembered() -> None:
    import torch

    from models.render.generate import remembered

    encoder, asked = torch.nn.Identity(), []

    def encode(texts: list[str]) -> list[Any]:
        asked.extend(texts)
        return [torch.tensor(float(text)) for text in texts]

    for number in (*range(32), 0, 32, 0, 1):
        assert float(remembered(encoder, [str(number)], encode, "cpu")[0]) == number
    assert asked == [str(number) for number in (*range(33), 1)]


# --- the next one, made ready

VACE, ANIMATE, ANIMATE_2 = (f"wan2.2-{name}-tiny" for name in ("vace-fun-a14b", "animate-14b", "animate-2-14b"))
NEXT = "nobody has asked for this before"


def while_drawing(renderer: Renderer, request: RenderRequest, work: Callable[[], Any]) -> Any:
    """Draw `request`; what `work` answers, done by another thread in the middle of the first step."""
    answers: list[Any] = []

    def tell(at: Progress) -> None:
        if at.stage is Stage.DENOISING and not answers:
            with ThreadPoolExecutor(1) as beside:
                answers.append(beside.submit(work).result())

    renderer.render_frames(request, tell, lambda: False)
    return answers[0]


@pytest.mark.parametrize(
    ("model", "task", "roles", "parts"),
    [
        (T2V, "t2v", {}, ["texts"]),
        (VACE, "vace", {"video": "clip", "image": "picture"}, ["texts", "inputs"]),
        *(
            pytest.param(*one, marks=pytest.mark.soak)
            for one in (
                (TI2V, "i2v", {"image": "picture"}, ["texts", "inputs"]),
                (ANIMATE, "animate", {"pose_video": "clip", "face_video": "clip"}, ["texts", "inputs"]),
                (ANIMATE_2, "animate", {}, ["texts"]),
            )
        ),
    ],
)
def test_what_was_ready_makes_the_same_frames(
    renderer: Renderer,
    render: Render,
    picture: Path,
    tmp_path: Path,
    model: str,
    task: str,
    roles: dict[str, str],
    parts: list[str],
) -> None:
    sources = {"picture": picture.read_bytes(), "clip": moving(tmp_path / "c.mkv", 9, 64, 64, 16).read_bytes()}
    passing = {role: tmp_path / role for role in roles}
    for role, path in passing.items():
        path.write_bytes(sources[roles[role]])
    kept = {"image": picture, "video": film(tmp_path / "clip.mp4", 9, 16)} if model in (ANIMATE, ANIMATE_2) else {}
    inputs = {role: str(path) for role, path in {**passing, **kept}.items()}
    values: dict[str, Any] = {"inputs": inputs, "prompt": NEXT, "steps": 2}
    alone = render(model, task, **values)
    # its memory of texts goes with the encoder
    renderer.unload()
    this = request_for(tmp_path / "this", model, task, **{**values, "prompt": "this", "seed": 5})
    following = request_for(tmp_path / "following", model, task, **values)
    encoding: list[int] = []

    def prepared() -> list[str]:
        loaded = renderer._loaded
        assert loaded is not None
        encoder = loaded.pipe_for(task).text_encoder
        encoder.register_forward_pre_hook(lambda *_: encoding.append(threading.get_ident()))
        return renderer.prefetch(following)

    assert while_drawing(renderer, this, prepared) == parts
    assert encoding
    for path in passing.values():
        path.write_bytes(b"read before")
    ready = renderer.render_frames(following, lambda _: None, lambda: False).finish()
    assert threading.get_ident() not in encoding, "the render itself had no text to encode"
    assert ready.recipe["frames_sha256"] == alone.recipe["frames_sha256"]


def test_an_encoder_that_would_have_to_move_is_left_alone(models_dir: Path, picture: Path, tmp_path: Path) -> None:
    for where in (Where.TEXT_VISITS, Where.EXPERTS_VISIT, Where.STREAMED):
        tight = Renderer(models_dir, "cpu")
        tight._learnt[I2V] = (0, MemoryPlan(where))
        this, following = (
            request_for(tmp_path / name, I2V, "i2v", prompt=name, steps=1, inputs={"image": str(picture)})
            for name in ("this", "following")
        )
        assert while_drawing(tight, this, lambda: tight.prefetch(following)) == ["inputs"]  # noqa: B023 - called at once


def test_what_is_wrong_with_the_next_one_is_told_by_its_render(
    renderer: Renderer, render: Render, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "picture.png").write_bytes(b"no picture")
    values: dict[str, Any] = {"inputs": {"image": str(tmp_path / "picture.png")}}
    broken = request_for(tmp_path / "broken", I2V, "i2v", **values)
    this = request_for(tmp_path / "this", I2V, "i2v", inputs={"image": str(picture)})

    def prepared() -> str:
        with pytest.raises(RenderFault) as fault:
            renderer.prefetch(broken)
        return fault.value.code

    assert while_drawing(renderer, this, prepared) == "invalid_input"
    with pytest.raises(RenderFault, match="picture is broken or cut off"):
        renderer.render_frames(broken, lambda _: None, lambda: False)


def test_what_is_ready_is_only_for_its_own_render(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    pictures = [moving(tmp_path / f"{n}.mkv", 9, 64, 64, 16, seed=n) for n in range(2)]
    one, other = (
        request_for(tmp_path / path.stem, VACE, "vace", steps=2, inputs={"video": str(path)}) for path in pictures
    )
    alone = renderer.render(one, lambda _: None, lambda: False).recipe["frames_sha256"]
    assert renderer.prefetch(other) == ["texts", "inputs"]
    assert renderer.render(one, lambda _: None, lambda: False).recipe["frames_sha256"] == alone
    pictures[1].unlink()
    # and it is not kept for a render that may never come
    with pytest.raises(RenderFault, match="clip is broken or cut off"):
        renderer.render_frames(other, lambda _: None, lambda: False)


def test_a_cancel_of_this_render_does_not_reach_the_next(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    render(prompt="warm")
    ready: list[list[str]] = []
    stop = threading.Event()

    def tell(at: Progress) -> None:
        if at.stage is Stage.DENOISING and not stop.is_set():
            stop.set()
            with ThreadPoolExecutor(1) as beside:
                following = request_for(tmp_path / "following", prompt="encoded while this one is cancelled")
                ready.append(beside.submit(renderer.prefetch, following).result())

    with pytest.raises(Cancelled):
        renderer.render_frames(request_for(tmp_path / "this", prompt="warm"), tell, stop.is_set)
    assert ready == [["texts"]]


def test_a_model_stays_while_something_is_prepared_on_it(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    render()
    loaded = renderer._loaded
    assert loaded is not None
    order: list[str] = []
    gone = threading.Event()

    def unload() -> None:
        renderer.unload()
        order.append("unloaded")
        gone.set()

    leaving = threading.Thread(target=unload)

    def encoding(*_: Any) -> None:
        leaving.start()
        # it would be gone by then, if nothing kept it
        gone.wait(0.3)
        order.append("encoded")

    loaded.pipe_for("t2v").text_encoder.register_forward_hook(encoding)
    assert renderer.prefetch(request_for(tmp_path / "following", prompt="a model that has to go")) == ["texts"]
    leaving.join()
    assert order == ["encoded", "unloaded"]
    # with nothing loaded there are only inputs to read
    assert renderer.prefetch(replace(request_for(tmp_path / "later"), prompt="later")) == []
