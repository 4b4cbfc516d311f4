"""From a settled spec back to words: resolution, aspect and seconds come back as they were asked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.jobs.draft import Draft
from farm.jobs.errors import InvalidRequest
from farm.jobs.spec import InputRef, JobSpec
from farm.submission import shape
from farm.wire.answers import RATIOS
from farm.wire.purchase_order import PurchaseOrder, seconds_word, size_words
from models.catalog import MODELS, Model, resolution_word

TEXT = [model for model in MODELS.values() if "t2v" in model.tasks]
PICTURE = [model for model in MODELS.values() if "i2v" in model.tasks]


def settled(model: Model, task: str, draft: Draft, picture: InputRef | None = None) -> JobSpec:
    """The spec that submission makes of a draft."""
    inputs = {"image": picture} if picture else {}
    got = shape.settle(draft, model, task, inputs).settled
    return JobSpec(
        model.id, task, draft.prompt or "", "", got.width, got.height, got.frames, got.fps, got.steps, got.guidance,
        got.guidance_2, got.shift, 1, inputs=inputs,
    )  # fmt: skip


def asked(model: Model, task: str, draft: Draft, picture: InputRef | None = None) -> JobSpec | None:
    try:
        return settled(model, task, draft, picture)
    except InvalidRequest:
        return None  # this model has no such size


@pytest.mark.parametrize("model", TEXT, ids=lambda model: model.id)
def test_words_come_back_as_they_were_asked(model: Model) -> None:
    found = 0
    for word in model.resolutions:
        for aspect in RATIOS.values():
            for seconds in (2, 3, 4, 5, 2.5):
                spec = asked(model, "t2v", Draft("a", resolution=word, aspect=aspect, seconds=seconds))
                if spec is None:
                    continue
                draft = PurchaseOrder(spec).in_words
                again = settled(model, "t2v", draft)
                assert (again.width, again.height, again.frames, again.fps) == (
                    spec.width, spec.height, spec.frames, spec.fps,
                )  # fmt: skip
                assert draft.seconds == seconds
                if word == resolution_word(spec.width, spec.height):  # small models have words of the same size
                    assert (draft.resolution, draft.aspect) == (word, aspect)
                found += 1
    assert found


@pytest.mark.parametrize("model", PICTURE, ids=lambda model: model.id)
@pytest.mark.parametrize("sides", [(1920, 1080), (1000, 1000), (720, 1280), (1234, 817)])
def test_a_picture_s_own_aspect_stays_its_own(model: Model, sides: tuple[int, int]) -> None:
    picture = InputRef(key="k", sha256="s", width=sides[0], height=sides[1])
    for word in model.resolutions:
        spec = asked(model, "i2v", Draft("a", resolution=word, inputs={"image": picture}), picture)  # type: ignore[dict-item]
        if spec is None:
            continue
        resolution, aspect = size_words(spec)
        assert aspect is None
        again = settled(
            model,
            "i2v",
            Draft("a", resolution=resolution, inputs={"image": picture}),
            picture,  # type: ignore[dict-item]
        )
        assert (again.width, again.height) == (spec.width, spec.height)


@settings(max_examples=300)
@given(st.integers(1, 60), st.sampled_from([8, 16, 24, 30]))
def test_seconds_make_the_same_frames_again(n: int, fps: int) -> None:
    frames = 4 * n + 1
    seconds = seconds_word(frames, fps)
    assert max(4 * round((seconds * fps - 1) / 4) + 1, 5) == frames


def test_five_seconds_are_five_seconds() -> None:
    assert seconds_word(81, 16) == 5
    assert seconds_word(121, 24) == 5


def test_another_farm_is_asked_in_numbers() -> None:
    model = TEXT[0]
    spec = settled(model, "t2v", Draft("a", frames=33))
    draft = PurchaseOrder(spec).in_numbers
    assert (draft.width, draft.height, draft.frames, draft.fps) == (spec.width, spec.height, 33, round(spec.fps))
    assert (draft.resolution, draft.aspect, draft.seconds) == (None, None, None)
