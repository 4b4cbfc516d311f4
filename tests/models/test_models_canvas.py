"""A clip of any even size: drawn on the next larger canvas, cut out of its middle, and made again from its recipe."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_parts import I2V, T2V, TI2V, Render, decoded, draw, moving
from PIL import Image

from models import catalog
from models.media import canvas, output, pictures
from models.planning.request import RenderRequest
from models.render import generate
from models.render.renderer import Renderer
from models.render.rerender import rerender

VACE, ANIMATE, ANIMATE_2 = "wan2.2-vace-fun-a14b-tiny", "wan2.2-animate-14b-tiny", "wan2.2-animate-2-14b-tiny"
ONE = {"guidance": 1.0, "guidance_2": None, "steps": 1}


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (TI2V, "i2v"),
        (VACE, "vace"),
        (ANIMATE_2, "animate"),
        *(pytest.param(*one, marks=pytest.mark.soak) for one in ((T2V, "t2v"), (TI2V, "t2v"), (ANIMATE, "animate"))),
    ],
)
def test_every_pipeline_makes_the_size_that_was_asked(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path, model: str, task: str
) -> None:
    (tmp_path / "inputs").mkdir()
    still = draw(tmp_path / "inputs" / "still.png", 90, 70)
    clip = moving(tmp_path / "inputs" / "clip.mkv", 9, 90, 70, 16)
    faces = moving(tmp_path / "inputs" / "faces.mkv", 9, 32, 32, 16, seed=3)
    files = {"image": still, "video": clip, "pose_video": clip, "face_video": faces}
    taken = catalog.get(model).roles(task) if model != VACE else ("video",)
    inputs = {role: str(files[role]) for role in taken}
    more = ONE if model in (ANIMATE, ANIMATE_2) else {"steps": 2}
    made = render(model, task, width=98, height=74, inputs=inputs, **more)
    assert (made.width, made.height) == (98, 74)
    assert decoded(made.video).shape[1:3] == (74, 98)
    assert (made.recipe["width"], made.recipe["height"]) == (98, 74)
    again = rerender(dict(made.recipe), tmp_path / "inputs", models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == made.recipe["frames_sha256"]


def test_what_is_cut_out_is_the_middle_of_what_the_canvas_shows(render: Render) -> None:
    """The same noise on the same canvas, whole and cut: the cut takes pixels away and changes none."""
    whole = decoded_exactly(render, width=96, height=96)
    part = decoded_exactly(render, width=90, height=84)
    assert np.array_equal(part, whole[:, 6:90, 3:93])


def decoded_exactly(render: Render, **size: int) -> Any:
    """The frames before any encoder."""
    kept: list[Any] = []
    write = output.write_video

    def keep(path: Path, frames: Any, *more: Any, **named: Any) -> None:
        kept.append(np.array(frames))
        write(path, frames, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "write_video", keep)
        render(TI2V, "t2v", **size)
    return kept[0]


def request(tmp_path: Path, **inputs: Path) -> RenderRequest:
    values = {"prompt": "x", "negative_prompt": "", "frames": 9, "fps": 16, "steps": 1, "shift": 5.0, "seed": 1}
    files = {role: str(path) for role, path in inputs.items()}
    return RenderRequest(
        model=I2V, task="i2v", width=90, height=70, guidance=1.0, guidance_2=None, out_dir=str(tmp_path),
        inputs=files, **values,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_picture_of_that_size_is_shown_as_it_is(tmp_path: Path) -> None:
    asked = request(tmp_path, image=draw(tmp_path / "still.png", 90, 70))
    model = catalog.get(I2V)
    on_it = canvas.on_canvas(model, asked)
    assert (on_it.width, on_it.height) == (96, 80)
    given = np.asarray(generate.read_inputs(on_it)["image"])
    assert given.shape == (80, 96, 3)
    shown = canvas.cut_out(given[None], asked.width, asked.height)[0]
    assert np.array_equal(shown, np.asarray(pictures.read(asked.inputs["image"])))
    assert np.array_equal(given[0, 3:93], shown[0]), "its edge goes on into the margin"


def test_a_size_that_is_drawn_as_it_is_passes_through(tmp_path: Path) -> None:
    asked = request(tmp_path)
    even = canvas.on_canvas(catalog.get(T2V), resized(asked, 96, 80))
    assert even.shown is None
    frames = np.zeros((2, 80, 96, 3), np.uint8)
    assert canvas.cut_out(frames, 96, 80).shape == frames.shape
    picture = Image.new("RGB", (96, 80))
    assert canvas.placed(picture, even) is picture


def resized(asked: RenderRequest, width: int, height: int) -> RenderRequest:
    return RenderRequest.from_json({**asked.to_json(), "width": width, "height": height})
