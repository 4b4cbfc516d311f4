"""One set of tiny weights and one warm renderer for the whole room: imports and loads cost more than renders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_parts import T2V, Render, draw, request_for
from pipe_parts import CPU, KINDS, STEPS, latents

from models import catalog
from models.acceleration import lossy, runtime
from models.planning.request import Progress, RenderResult
from models.render import loading
from models.render.loading import Loaded
from models.render.renderer import Renderer


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def renderer(models_dir: Path) -> Renderer:
    return Renderer(models_dir, "cpu")


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320 x 200 pixels of gradients: wider than every clip of the tests."""
    return draw(tmp_path_factory.mktemp("pictures") / "picture.png", 320, 200)


@pytest.fixture
def render(renderer: Renderer, tmp_path: Path) -> Render:
    """render(model, task, **changes): into a folder of its own, checking that progress only ever grows."""
    count = 0

    def run(model: str = T2V, task: str = "t2v", **changes: Any) -> RenderResult:
        nonlocal count
        count += 1
        told: list[Progress] = []
        request = request_for(tmp_path / f"out{count}", model, task, **changes)
        result = renderer.render(request, told.append, lambda: False)
        fractions = [progress.fraction for progress in told]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        return result

    return run


@pytest.fixture(scope="session")
def loaded(models_dir: Path) -> Callable[[str], Any]:
    """kind -> its pipeline, loaded once, with the curve that `mag` needs measured. Who changes one changes it back."""
    runtime.prepare()
    kept: dict[str, Loaded] = {}

    def load(kind: str) -> Any:
        model, task = KINDS[kind]
        if model not in kept:
            kept[model] = loading.load(catalog.get(model), models_dir, CPU, task)
        pipe = kept[model].pipe_for(task)
        file = lossy.ratios_file(models_dir, catalog.get(model))
        if not file.exists() and kind != "animate":
            with lossy.calibrating(pipe, STEPS, file):
                latents(pipe, kind)
        return pipe

    return load
