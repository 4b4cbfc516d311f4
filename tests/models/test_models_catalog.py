"""The catalog: every entry settles by itself, sizes follow Wan's rule, work is what torch's own counter says."""

import re
from dataclasses import replace
from typing import Any

import pytest

from models import catalog
from models.catalog import AREAS, ShapeError, networks
from models.planning import plan
from models.weights import hub

A14B, TI2V = catalog.get("wan2.2-t2v-a14b"), catalog.get("wan2.2-ti2v-5b")


@pytest.mark.parametrize("model", list(catalog.MODELS.values()), ids=lambda model: model.id)
def test_every_entry_is_whole(model: catalog.Model) -> None:
    for task in model.tasks:
        settled = catalog.settle(model, task, {})
        assert settled.work_tflop > 0
        assert task in model.pipeline
        assert set(model.roles(task)) >= set(model.tasks[task])
    if model.base is not None:
        assert catalog.get(model.base).weights.tiny == model.weights.tiny
    if model.sigmas is not None:
        assert model.limits.min_steps == model.limits.max_steps == len(model.sigmas)
    for word in model.resolutions:
        for aspect in (16 / 9, 1.0, 9 / 16):
            width, height = catalog.size_for(model, word, aspect)
            catalog.settle(model, next(iter(model.tasks)), {"width": width, "height": height})


def test_lanes_are_told_apart() -> None:
    lanes = [model.lane for model in catalog.MODELS.values()]
    assert len(set(lanes)) == len(lanes)
    assert catalog.lane_of(A14B, ("b", "a")) == catalog.lane_of(A14B, ("a", "b")) != A14B.lane


@pytest.mark.parametrize(
    ("model", "shape", "tflop"),
    [(A14B, (832, 480, 81), 1678), (A14B, (1280, 720, 81), 6523), (TI2V, (1280, 704, 121), 517)],
)
def test_work_is_what_was_counted(model: catalog.Model, shape: tuple[int, int, int], tflop: float) -> None:
    assert catalog.forward_tflop(model, *shape) == pytest.approx(tflop, rel=0.002)
    width, height, frames = shape
    guided = catalog.work_tflop(model, width=width, height=height, frames=frames, steps=40, guidance=4.0)
    alone = catalog.work_tflop(model, width=width, height=height, frames=frames, steps=40, guidance=1.0)
    assert guided == 2 * alone == pytest.approx(80 * tflop, rel=0.002)


def test_sizes_by_word_and_aspect() -> None:
    assert catalog.size_for(A14B, "480p", 832 / 480) == (832, 480)
    assert catalog.size_for(A14B, "720P", 16 / 9) == (1280, 720)
    assert catalog.size_for(A14B, "480p", 1.0) == (624, 624)
    assert catalog.size_for(TI2V, "720p", 9 / 16) == (704, 1280)
    assert list(TI2V.resolutions.values()) == [832 * 480, 1024 * 576, 1280 * 704]
    with pytest.raises(ShapeError, match="480p, 580p, 720p"):
        catalog.size_for(A14B, "4k", 1.0)


@pytest.mark.parametrize(
    ("word", "sizes", "small"),
    [
        ("480p", "832x480 480x832 624x624 720x544 544x720 960x400", "832x480 480x832 608x608 704x544 544x704 960x416"),
        (
            "580p",
            "1024x576 576x1024 768x768 880x656 656x880 1168x496",
            "1024x576 576x1024 768x768 864x672 672x864 1152x512",
        ),
        (
            "720p",
            "1280x720 720x1280 960x960 1104x816 816x1104 1456x624",
            "1280x704 704x1280 928x928 1088x800 800x1088 1440x608",
        ),
    ],
)
def test_every_word_at_every_aspect_is_the_models_own_size(word: str, sizes: str, small: str) -> None:
    """Of a named aspect: the trained frames where they have that name, else the area's rule of each model."""
    aspects = (16 / 9, 9 / 16, 1.0, 4 / 3, 3 / 4, 21 / 9)
    for model in (m for m in catalog.MODELS.values() if not m.weights.tiny):
        found = [catalog.size_for(model, word, aspect) for aspect in aspects]
        expected = small if model.limits.multiple == 32 else sizes
        assert " ".join(f"{width}x{height}" for width, height in found) == expected
        for width, height in found:
            catalog.settle(model, next(iter(model.tasks)), {"width": width, "height": height})


def test_a_picture_gives_its_own_aspect_not_the_name_of_one() -> None:
    """What Wan's own programs make of a picture of 1920x1080."""
    assert catalog.size_of_area(A14B, AREAS["480p"], 1920 / 1080) == (832, 464)
    assert catalog.size_of_area(TI2V, TI2V.resolutions["720p"], 1920 / 1080) == (1248, 704)
    assert catalog.size_of_area(TI2V, TI2V.resolutions["720p"], 1080 / 1920) == (704, 1248)
    assert catalog.size_of_area(TI2V, 64, 20.0) == (32, 0)


@pytest.mark.parametrize(
    ("model", "asked", "field", "says"),
    [
        (A14B, {"frames": 80}, "frames", "nearest: 77 or 81"),
        (A14B, {"width": 831}, "width", "nearest: 830 or 832"),
        (A14B, {"width": 1920, "height": 1090}, "width", "pixels"),
        (A14B, {"guidance": 1.0, "guidance_2": 3.0}, "guidance_2", "no effect"),
        (TI2V, {"guidance_2": 3.0}, "guidance_2", "one expert"),
        (TI2V, {"height": 719}, "height", "nearest: 718 or 720"),
        (catalog.get("wan2.2-t2v-a14b-4step"), {"steps": 8}, "steps", "not 4"),
        (catalog.get("wan2.2-t2v-a14b-4step"), {"guidance": 3.0}, "guidance", "between 0 and 1"),
        (catalog.get("wan2.2-animate-14b"), {"frames": 1}, "frames", "between 2"),
    ],
)
def test_what_is_refused_says_what_would_do(model: catalog.Model, asked: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ShapeError, match=says) as caught:
        catalog.settle(model, next(iter(model.tasks)), asked)
    assert caught.value.field == field


@pytest.mark.parametrize("model", [A14B, TI2V, catalog.get("wan2.2-vace-fun-a14b"), catalog.get("wan2.2-animate-14b")])
@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1024, 1792), (1792, 1024), (1920, 1080), (998, 562)])
def test_sizes_that_people_name_are_rendered_on_the_next_larger_canvas(
    model: catalog.Model, size: tuple[int, int]
) -> None:
    settled = catalog.settle(model, next(iter(model.tasks)), dict(zip(("width", "height"), size, strict=True)))
    assert (settled.width, settled.height) == size
    drawn = catalog.canvas(model, *size)
    assert all(0 <= there - asked < model.limits.multiple for there, asked in zip(drawn, size, strict=True))
    assert all(there % model.limits.multiple == 0 for there in drawn)
    on_it = replace(settled, width=drawn[0], height=drawn[1])
    assert settled.work_tflop == on_it.work_tflop, "what is drawn is what is charged"
    assert needs(settled) == needs(on_it), "and what memory has to hold"


@pytest.mark.parametrize(("model", "fps"), [(A14B, 16), (TI2V, 24)])
@pytest.mark.parametrize("seconds", [4, 8, 12, 16, 20])
def test_lengths_that_people_name_are_rendered(model: catalog.Model, fps: int, seconds: int) -> None:
    assert catalog.settle(model, "t2v", {"frames": seconds * fps + 1, "fps": fps}).frames == seconds * fps + 1


def needs(shape: catalog.Settled) -> plan.Room:
    burden = plan.Burden(shape.model, shape.width, shape.height, shape.frames)
    return plan.needs(burden, plan.MemoryPlan(plan.Where.STREAMED))


def test_without_guidance_the_second_is_none_either() -> None:
    """The pipelines look at the first alone: a recipe that told of the second would not tell the truth."""
    assert catalog.settle(A14B, "t2v", {"guidance": 1.0}).guidance_2 == 1.0


def test_an_animate_clip_may_have_any_length() -> None:
    model = catalog.get("wan2.2-animate-14b")
    assert catalog.settle(model, "animate", {"frames": 100}).frames == 100
    assert catalog.segments_of(model, 77) == 1
    assert catalog.segments_of(model, 78) == 2
    assert catalog.segments_of(A14B, 161) == 1


def test_weights_are_named_by_a_commit_or_said_to_be_unpinned() -> None:
    """A branch moves: two machines that pull on two days would render different frames."""
    entries = [model.weights for model in catalog.MODELS.values()]
    entries += [lora for model in catalog.MODELS.values() for lora in model.loras]
    entries += networks.NETWORKS.values()
    for entry in entries:
        assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision), entry
    unpinned = {m.id for m in catalog.MODELS.values() if not m.weights.tiny and hub.source_of(m)[1] is None}
    assert unpinned == {"wan2.2-animate-14b", "wan2.2-t2v-a14b-4step"}
