"""Cancelling in every stage: it stops at once, the model stays warm, and the next render is right to the bit."""

from pathlib import Path

import pytest
from model_parts import I2V, Render, request_for

from models.planning.request import Cancelled, Progress, Stage
from models.render.renderer import Renderer


@pytest.mark.parametrize("stage", list(Stage))
def test_cancel_stops_in_every_stage_and_leaves_nothing(
    renderer: Renderer, render: Render, picture: Path, tmp_path: Path, stage: Stage
) -> None:
    inputs = {"image": str(picture)}
    wanted = {"inputs": inputs, "frames": 5, "steps": 2}
    before = render(I2V, "i2v", **wanted)
    loaded = renderer._loaded
    told: list[Progress] = []

    def wanted_no_more() -> bool:
        return bool(told) and told[-1].stage is stage

    request = request_for(tmp_path / "cancelled", I2V, "i2v", **wanted)
    with pytest.raises(Cancelled):
        renderer.render(request, told.append, wanted_no_more)
    assert told[-1].stage is stage
    assert renderer._loaded is loaded
    assert not (tmp_path / "cancelled" / "recipe.json").exists()
    assert render(I2V, "i2v", **wanted).recipe["frames_sha256"] == before.recipe["frames_sha256"]


def test_cancel_is_looked_at_inside_a_step(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    """A step of a big model takes half a minute: the look comes at every block, not at every step."""
    render()
    told: list[Progress] = []
    asked_in_first_step = 0

    def asked() -> bool:
        nonlocal asked_in_first_step
        asked_in_first_step += bool(told) and told[-1].stage is Stage.DENOISING and told[-1].step == 0
        return asked_in_first_step == 3

    with pytest.raises(Cancelled):
        renderer.render(request_for(tmp_path / "out"), told.append, asked)
    assert told[-1].step == 0


def test_progress_tells_every_step(renderer: Renderer, tmp_path: Path) -> None:
    told: list[Progress] = []
    renderer.render(request_for(tmp_path / "out", steps=6), told.append, lambda: False)
    denoising = [p for p in told if p.stage is Stage.DENOISING]
    assert {p.step for p in denoising} == set(range(7))
    assert all(p.steps == 6 for p in denoising)
    stages = [p.stage for p in told]
    assert sorted(set(stages), key=stages.index) == list(Stage)


def test_progress_tells_every_latent_frame_that_is_decoded(renderer: Renderer, tmp_path: Path) -> None:
    """The VAE takes a while for a big clip: nine latent frames are nine steps of progress, none of them backwards."""
    told: list[Progress] = []
    renderer.render(request_for(tmp_path / "out", frames=33, steps=1), told.append, lambda: False)
    decoding = [p.fraction for p in told if p.stage is Stage.DECODING]
    assert len(set(decoding)) == 9
    assert decoding == sorted(decoding)
