"""What a job may ask beyond its shape: refused before anything is read, on the field that is wrong."""

from typing import Any

import pytest

from models import catalog
from models.catalog import ShapeError, options

T2V, I2V, TI2V = "wan2.2-t2v-a14b", "wan2.2-i2v-a14b", "wan2.2-ti2v-5b"
VACE, ANIMATE = "wan2.2-vace-fun-a14b", "wan2.2-animate-14b"


def checked(model: str, task: str, given: dict[str, Any], steps: int = 40, guidance: float = 4.0) -> dict[str, Any]:
    return options.check(catalog.get(model), task, steps, guidance, given)


@pytest.mark.parametrize(
    ("model", "task", "right"),
    [
        (T2V, "t2v", ["first_block", "mag", "sea", "taylorseer"]),
        (I2V, "i2v", ["first_block", "mag", "taylorseer"]),
        (I2V, "flf2v", ["first_block", "mag", "taylorseer"]),
        (TI2V, "t2v", ["first_block", "mag", "sea", "taylorseer"]),
        (TI2V, "i2v", ["first_block", "mag", "taylorseer"]),
        (VACE, "vace", ["taylorseer"]),
        (VACE, "r2v", ["taylorseer"]),
        (ANIMATE, "animate", ["taylorseer", "pab"]),
        (ANIMATE, "replace", ["taylorseer", "pab"]),
        (f"{T2V}-4step", "t2v", []),
    ],
)
def test_what_is_right_where(model: str, task: str, right: list[str]) -> None:
    assert options.lossy_for(catalog.get(model), task) == right
    guidance = catalog.get(model).defaults.guidance
    for name in options.LOSSY:
        if name in right:
            assert checked(model, task, {"lossy": name}, guidance=guidance) == {"lossy": name}
            continue
        with pytest.raises(ShapeError) as refused:
            checked(model, task, {"lossy": name}, guidance=guidance)
        assert refused.value.field == "options.lossy"


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"lossy": "fastest"}, "options.lossy", "none of first_block"),
        ({"lossy": ["mag"]}, "options.lossy", "none of"),
        ({"lossy": True}, "options.lossy", "none of"),
        ({"turbo": 1}, "options.turbo", "the options are lossy"),
        ({"conditioning_scale": 1.0}, "options.conditioning_scale", "does not read it"),
    ],
)
def test_a_refusal_names_the_option(given: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ShapeError, match=says) as refused:
        checked(T2V, "t2v", given)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("task", "name", "right", "wrong"),
    [
        ("animate", "several", ["refuse", "largest"], ["all", 2]),
        ("animate", "retarget", [True, False], [1, "yes"]),
        ("replace", "mask_blocks", [[1, 1], [8, 12]], [[0, 1], [1], [1, 2, 3], [1.0, 2], "4,4", [True, 1], 7]),
    ],
)
def test_what_animate_reads(task: str, name: str, right: list[Any], wrong: list[Any]) -> None:
    for value in right:
        assert checked(ANIMATE, task, {name: value}, guidance=1.0) == {name: value}
    for value in wrong:
        with pytest.raises(ShapeError) as refused:
            checked(ANIMATE, task, {name: value}, guidance=1.0)
        assert refused.value.field == f"options.{name}"
    for model, other in ((T2V, "t2v"), ("wan2.2-animate-2-14b", "animate")):
        with pytest.raises(ShapeError, match="does not read it"):
            checked(model, other, {name: right[0]})


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan"), "1", True])
def test_a_scale_is_a_number_in_its_range(value: Any) -> None:
    with pytest.raises(ShapeError, match="from 0 to 2"):
        checked(VACE, "vace", {"conditioning_scale": value})


def test_nothing_asked_is_nothing_said() -> None:
    assert checked(T2V, "t2v", {}) == checked(T2V, "t2v", {"lossy": None}) == {}
    assert checked(VACE, "vace", {"conditioning_scale": 1}) == {"conditioning_scale": 1.0}


def test_few_steps_are_too_few_and_guidance_counts() -> None:
    with pytest.raises(ShapeError, match="at least 8"):
        checked(T2V, "t2v", {"lossy": "mag"}, steps=6)
    with pytest.raises(ShapeError, match="without guidance"):
        checked(ANIMATE, "animate", {"lossy": "pab"}, guidance=3.0)
    assert checked(T2V, "t2v", {"lossy": "pab"}, guidance=1.0) == {"lossy": "pab"}
