"""A recipe makes the same frames again, says what is missing when it cannot, and travels inside the video."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from model_parts import I2V, T2V, Render, decoded, draw

from models import output, recipe
from models.recipe import RecipeError
from models.renderer import Renderer

I2V_4STEP = "wan2.2-i2v-a14b-4step-tiny"
FOUR = {"steps": 4, "guidance": 1.0, "guidance_2": 1.0, "shift": 5.0}


def test_rerender_makes_the_same_frames(
    renderer: Renderer, render: Render, models_dir: Path, picture: Path, tmp_path: Path
) -> None:
    first = render(I2V, "i2v", inputs={"image": str(picture)}, provenance={"job": "j1", "attempt": 2, "worker": "w"})
    written = json.loads(Path(first.recipe_path).read_text())
    assert written["provenance"] == {"job": "j1", "attempt": 2, "worker": "w"}
    (tmp_path / "kept").mkdir()
    shutil.copy(picture, tmp_path / "kept" / "another-name.bin")
    again = recipe.rerender(written, tmp_path / "kept", models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]
    assert np.array_equal(decoded(again.video), decoded(first.video))


def test_the_recipe_travels_inside_the_video_and_is_enough(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    first = render(seed=77)
    inside = output.read_recipe(Path(first.video))
    assert inside["seed"] == 77
    again = recipe.rerender(inside, None, models_dir, tmp_path / "again", renderer=renderer)
    assert again.recipe["frames_sha256"] == first.recipe["frames_sha256"]


def test_a_recipe_names_weights_versions_and_device(render: Render) -> None:
    made = render().recipe
    assert set(made["weights"]["files"]) >= {"transformer/diffusion_pytorch_model.safetensors"}
    assert made["scheduler"]["class"] == "UniPCMultistepScheduler"
    assert made["scheduler"]["config"]["flow_shift"] == 5.0
    assert made["scheduler"]["timesteps"] == [999.0, 937.0, 833.0, 625.0]
    assert made["boundary"] == 0.875
    assert made["libraries"]["torch"]
    assert made["device"]["type"] == "cpu"
    assert made["precision"]["vae"] == "float32"


def test_rerender_refuses_what_is_not_the_recipes(
    render: Render, models_dir: Path, picture: Path, tmp_path: Path
) -> None:
    made = dict(render(I2V, "i2v", inputs={"image": str(picture)}).recipe)
    with pytest.raises(RecipeError, match=r"image .* is not among the files"):
        recipe.rerender(made, None, models_dir, tmp_path / "a")
    made = dict(render(T2V).recipe)
    with pytest.raises(RecipeError, match="not those of the recipe"):
        recipe.rerender({**made, "weights": {"sha256": "0" * 64}}, None, models_dir, tmp_path / "b")


def test_rerender_says_when_the_frames_differ(
    renderer: Renderer, render: Render, models_dir: Path, tmp_path: Path
) -> None:
    made = {**render().recipe, "frames_sha256": "0" * 64, "attention": "flash"}
    with pytest.raises(RecipeError, match="attention was flash, is native"):
        recipe.rerender(made, None, models_dir, tmp_path / "out", renderer=renderer)


def test_a_video_without_a_recipe(tmp_path: Path) -> None:
    frames = np.full((5, 32, 32, 3), 90, dtype=np.uint8)
    output.write_video(tmp_path / "v.mp4", frames, 8, {})
    with pytest.raises(ValueError, match="carries no recipe"):
        output.read_recipe(tmp_path / "v.mp4")


def test_another_process_makes_the_same_frames(render: Render, models_dir: Path, tmp_path: Path) -> None:
    first = render(I2V_4STEP, "i2v", inputs={"image": str(draw(tmp_path / "p.png", 90, 70))}, **FOUR)
    program = (
        "import json, sys; from pathlib import Path; from models import recipe;"
        "made = recipe.rerender(json.loads(Path(sys.argv[1]).read_text()), *map(Path, sys.argv[2:]), device='cpu');"
        "print(made.recipe['frames_sha256'])"
    )
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    shutil.copy(tmp_path / "p.png", inputs)
    command = [sys.executable, "-c", program, first.recipe_path, str(inputs), str(models_dir), str(tmp_path / "again")]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == first.recipe["frames_sha256"]
