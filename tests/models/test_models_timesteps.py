"""Whose timesteps a render goes through: diffusers' own, or those of Wan's program when a job asks for them."""

from typing import Any

import pytest
from model_parts import Render

from models import catalog
from models.catalog import ShapeError, options
from models.render.noise_schedule import scheduler_for

T2V = "wan2.2-t2v-a14b"


def unipc() -> Any:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)


def forty(shift: float, timesteps: str) -> list[int]:
    scheduler = scheduler_for(unipc(), shift, timesteps=timesteps)
    scheduler.set_timesteps(40)
    return [int(t) for t in scheduler.timesteps]


@pytest.mark.parametrize(
    ("shift", "begin", "end", "of_diffusers", "differ"),
    [
        (12.0, [999, 997, 995, 993], [386, 235], [391, 242], 19),
        (5.0, [999, 994, 989, 983], [208, 113], [211, 117], 25),
    ],
)
def test_the_timesteps_of_wans_program(
    shift: float, begin: list[int], end: list[int], of_diffusers: list[int], differ: int
) -> None:
    """The numbers of Wan's side are from its own program (FlowUniPCMultistepScheduler, 40 steps)."""
    wan, ours = forty(shift, "wan"), forty(shift, "diffusers")
    assert (wan[:4], wan[-2:]) == (begin, end)
    assert ours[-2:] == of_diffusers
    assert sum(one != other for one, other in zip(wan, ours, strict=True)) == differ


def test_the_solver_gets_the_levels_and_ends_without_noise() -> None:
    scheduler = scheduler_for(unipc(), 12.0, timesteps="wan")
    scheduler.set_timesteps(40)
    levels = [0.999 * (1 - step / 40) for step in range(40)]
    assert scheduler.sigmas.tolist() == pytest.approx([12 * u / (1 + 11 * u) for u in levels] + [0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("model", "task", "says"),
    [
        (f"{T2V}-4step", "t2v", "distilled"),
        ("wan2.2-animate-2-14b", "animate", "another solver"),
    ],
)
def test_refused_where_the_solver_is_another(model: str, task: str, says: str) -> None:
    for value in options.TIMESTEPS:
        with pytest.raises(ShapeError, match=says) as refused:
            options.check(catalog.get(model), task, 40, 1.0, {"timesteps": value})
        assert refused.value.field == "options.timesteps"


@pytest.mark.parametrize("value", ["euler", 5, True, ["wan"]])
def test_a_wrong_value_is_refused_with_the_right_ones(value: Any) -> None:
    with pytest.raises(ShapeError, match="neither diffusers nor wan") as refused:
        options.check(catalog.get(T2V), "t2v", 40, 4.0, {"timesteps": value})
    assert refused.value.field == "options.timesteps"


def test_weights_with_another_scheduler_are_refused_and_not_sampled_otherwise() -> None:
    """The catalog cannot know what lies in a folder of the operator's own weights."""
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    for base in (FlowMatchEulerDiscreteScheduler(), UniPCMultistepScheduler()):
        with pytest.raises(ShapeError, match="these weights"):
            scheduler_for(base, 5.0, timesteps="wan")


def test_a_render_runs_them_and_its_recipe_says_so(render: Render) -> None:
    plain = render().recipe
    wan = render(options={"timesteps": "wan"}).recipe
    assert plain["scheduler"]["timesteps"] == [999.0, 937.0, 833.0, 625.0]
    assert wan["scheduler"]["timesteps"] == [999.0, 937.0, 833.0, 624.0]
    assert (plain["options"], wan["options"]) == ({}, {"timesteps": "wan"})
    assert wan["scheduler"]["class"] == "WanTimestepsScheduler"
    assert wan["scheduler"]["config"]["flow_shift"] == plain["scheduler"]["config"]["flow_shift"] == 5.0
    assert wan["frames_sha256"] != plain["frames_sha256"]
    assert render(options={"timesteps": "diffusers"}).recipe["frames_sha256"] == plain["frames_sha256"]
