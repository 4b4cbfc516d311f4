"""While the device draws, the last render is encoded; and texts that were seen are not encoded again."""

import threading
from pathlib import Path
from typing import Any

from model_parts import T2V, Render, request_for

from models.renderer import Renderer
from models.request import Progress, Stage


def test_one_render_is_finished_while_the_next_is_drawn(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    alone = [render(seed=seed).recipe["frames_sha256"] for seed in (1, 2)]
    order: list[str] = []
    drawing = threading.Event()

    def told(name: str) -> Any:
        def tell(progress: Progress) -> None:
            order.append(f"{name} {progress.stage}")
            if name == "second" and progress.stage is Stage.DENOISING:
                drawing.set()
                assert encoded.wait(30)

        return tell

    encoded = threading.Event()
    first = renderer.draw(request_for(tmp_path / "first"), told("first"), lambda: False)
    results: list[Any] = []

    def finish() -> None:
        assert drawing.wait(30)
        results.append(first.finish())
        encoded.set()

    thread = threading.Thread(target=finish)
    thread.start()
    second = renderer.draw(request_for(tmp_path / "second", seed=2), told("second"), lambda: False)
    thread.join()
    results.append(second.finish())
    assert [result.recipe["frames_sha256"] for result in results] == alone
    assert order.index("first encoding") < order.index("second decoding")


def test_a_text_is_encoded_once(renderer: Renderer, render: Render) -> None:
    render(prompt="a dog", negative_prompt="static")
    loaded = renderer._loaded
    assert loaded is not None
    calls: list[Any] = []
    encoder = loaded.pipe_for("t2v").text_encoder
    hook = encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        again = render(prompt="a dog", negative_prompt="static", seed=9)
        assert calls == []
        other = render(prompt="a cat", negative_prompt="static", seed=9)
        assert len(calls) == 1
    finally:
        hook.remove()
    assert again.recipe["frames_sha256"] != other.recipe["frames_sha256"]
    renderer.unload()
    fresh = render(T2V, prompt="a dog", negative_prompt="static", seed=9)
    assert fresh.recipe["frames_sha256"] == again.recipe["frames_sha256"]


def test_only_the_latest_texts_are_remembered() -> None:
    import torch

    from models.generate import remembered

    encoder, asked = torch.nn.Identity(), []

    def encode(texts: list[str]) -> list[Any]:
        asked.extend(texts)
        return [torch.tensor(float(text)) for text in texts]

    for number in (*range(32), 0, 32, 0, 1):
        assert float(remembered(encoder, [str(number)], encode, "cpu")[0]) == number
    assert asked == [str(number) for number in (*range(33), 1)]
