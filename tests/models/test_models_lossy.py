"""Approximations, tried on every pipeline: against the same render without, and by showing the model one input again
and again, where a right one must give the same output each time."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from model_parts import T2V, Render, request_for
from pipe_parts import KINDS, STEPS, latents

from models import catalog
from models.acceleration import lossy
from models.catalog import options
from models.planning.request import Cancelled, RenderFault
from models.render import warmup
from models.render.renderer import Renderer

_PAIRS = [(kind, name) for name, how in options.LOSSY.items() for kind in sorted(how.kinds)]


def _some(pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Of these, so many that every kind and every name is among them."""
    found: set[tuple[str, str]] = set()
    for kind, name in pairs:
        kinds, names = {one[0] for one in found}, {one[1] for one in found}
        if kind not in kinds or name not in names:
            found.add((kind, name))
    return found


RIGHT = [
    pytest.param(*pair, marks=() if pair in _some(_PAIRS) else pytest.mark.soak, id="-".join(pair)) for pair in _PAIRS
]


@contextmanager
def counted(pipe: Any) -> Iterator[list[int]]:
    """How often an attention of the experts computed."""
    count = [0]

    def one(*_: Any) -> None:
        count[0] += 1

    attentions = [block.attn1.norm_q for expert in lossy.experts_of(pipe).values() for block in expert.blocks]
    handles = [attention.register_forward_pre_hook(one) for attention in attentions]
    yield count
    for handle in handles:
        handle.remove()


def guidance_of(name: str) -> float:
    return 4.0 if options.LOSSY[name].guided else 1.0


#: weights that were trained follow what they see: there test_models_distances.py bounds the distance of pictures
BOUNDS = {"t2v": 0.9, "vace": 0.9, "i2v": 0.9, "ti2v-t2v": 0.5, "ti2v-i2v": 0.5}


@pytest.mark.parametrize(("kind", "name"), RIGHT)
def test_an_approximation_saves_work_and_leaves_nothing(
    loaded: Any, models_dir: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    # from one of so few steps to the next a first block of tiny weights changes by more than 8 %
    monkeypatch.setattr(lossy, "_FIRST_BLOCK_CHANGE", 0.25)
    pipe, guidance = loaded(kind), 1.0 if kind == "animate" else guidance_of(name)
    ratios = lossy.ratios_file(models_dir, catalog.get(KINDS[kind][0]))
    with counted(pipe) as work:
        plain = latents(pipe, kind, guidance)
        whole = work[0]
        with lossy.on(pipe, name, STEPS, ratios) as told:
            near = latents(pipe, kind, guidance)
        saved = 2 * whole - work[0]
    assert [one["part"] for one in told] == list(lossy.experts_of(pipe))
    assert saved > 0
    # of two renders that have nothing in common this is 1.4
    assert 0 < float((near - plain).norm() / plain.norm()) < BOUNDS.get(kind, 0.25)
    assert torch.equal(latents(pipe, kind, guidance), plain)


def given_to(pipe: Any, kind: str) -> dict[str, Any]:
    """What the first expert is called with in a real render, at a timestep in the middle."""
    given: dict[str, Any] = {}
    handle = pipe.transformer.register_forward_pre_hook(lambda _, __, kwargs: given.update(kwargs), with_kwargs=True)
    latents(pipe, kind, guidance=1.0, steps=1)
    handle.remove()
    # the text encoder of a tiny model hardly tells one prompt from another
    given["encoder_hidden_states"] = torch.randn(given["encoder_hidden_states"].shape)
    given["timestep"] = torch.full_like(given["timestep"], 500)
    return given


def drift(pipe: Any, kind: str, name: str, passes: tuple[str, ...] = ("cond",)) -> float:
    """How far the outputs for one and the same input move while the approximation is on, relative; each pass has a
    text of its own."""
    given, expert = given_to(pipe, kind), pipe.transformer
    texts = {of: given["encoder_hidden_states"] * (1 + 3 * n) for n, of in enumerate(passes)}
    worst = 0.0
    with torch.no_grad():
        plain = {of: expert(**{**given, "encoder_hidden_states": texts[of]})[0] for of in passes}
        expert.enable_cache(_forced(pipe, name))
        try:
            for step in range(8):
                for of in passes:
                    where = {"step_index": step, "sigma": 1 - step / 20, "num_inference_steps": STEPS}
                    with expert.cache_context(of, **where):
                        out = expert(**{**given, "encoder_hidden_states": texts[of]})[0]
                    worst = max(worst, float((out - plain[of]).norm() / plain[of].norm()))
        finally:
            expert._reset_stateful_cache()
            expert.disable_cache()
    return worst


def _forced(pipe: Any, name: str) -> Any:
    settings = {
        "first_block": {"threshold": 0.05},
        "mag": {"threshold": 1.0, "steps": STEPS, "ratios": [1.0] * STEPS},
        "sea": {"threshold": 10.0},
        "taylorseer": {"cache_interval": 5, "max_order": 1},
        "pab": {"range": 2, "timesteps": [100, 800]},
    }
    config, off = lossy._config(name, pipe.transformer, settings[name])
    _undo.append(off)
    return config


_undo: list[Callable[[], Any]] = []


@pytest.fixture(autouse=True)
def _taken_off() -> Iterator[None]:
    yield
    while _undo:
        _undo.pop()()


@pytest.mark.parametrize(("kind", "name"), RIGHT)
def test_the_same_input_gives_the_same_output(loaded: Any, kind: str, name: str) -> None:
    pipe = loaded(kind)
    with counted(pipe) as work:
        assert drift(pipe, kind, name, ("cond", "uncond") if options.LOSSY[name].guided else ("cond",)) < 1e-4
        per_pass = len(pipe.transformer.blocks)
    assert work[0] < per_pass * (8 + 2) * (2 if options.LOSSY[name].guided else 1)


def test_what_is_refused_is_wrong(loaded: Any) -> None:
    """The reasons for the table in models.catalog.options, so that a diffusers that mends one is noticed."""
    for name in ("first_block", "mag"):
        assert drift(loaded("vace"), "vace", name) > 0.02, name
    for name in ("first_block", "mag", "sea"):
        with pytest.raises(ValueError, match="not registered"):
            drift(loaded("animate"), "animate", name)
    for kind in ("i2v", "ti2v-i2v", "vace"):
        pipe = loaded(kind)
        with counted(pipe) as work:
            latents(pipe, kind, steps=8)
            whole = work[0]
            with lossy.on(pipe, "sea", 8, Path()):
                latents(pipe, kind, steps=8)
        assert work[0] == 2 * whole, kind
    # with two passes, the second is shown the first one's attention
    assert drift(loaded("t2v"), "t2v", "pab", ("cond", "uncond")) > 1e-3 > drift(loaded("t2v"), "t2v", "pab")


def test_mag_needs_a_calibration(loaded: Any, tmp_path: Path) -> None:
    pipe = loaded("t2v")
    with pytest.raises(RenderFault, match="not calibrated") as fault, lossy.on(pipe, "mag", STEPS, tmp_path / "no"):
        pass
    assert fault.value.code == "invalid_input"
    assert not pipe.transformer.is_cache_enabled


def test_a_calibration_is_a_render_in_the_models_own_steps(
    renderer: Renderer, render: Render, models_dir: Path
) -> None:
    file = warmup.calibrate(renderer, f"{T2V} 64x64x5", "a red fox")
    assert file == lossy.ratios_file(models_dir, catalog.get(T2V))
    ratios = json.loads(file.read_text())
    assert list(ratios) == ["transformer", "transformer_2"]
    assert sum(len(curve) for curve in ratios.values()) == catalog.get(T2V).defaults.steps
    near = render(steps=STEPS, options={"lossy": "mag"}).recipe["caches"]
    assert [one["name"] for one in near] == ["mag", "mag"]
    assert all(len(one["ratios_sha256"]) == 64 for one in near)
    with pytest.raises(catalog.ShapeError, match="mag is not right"):
        warmup.calibrate(renderer, f"{T2V[:-5]}-4step-tiny 64x64x5", "a red fox")
    file.unlink()


def test_each_expert_has_its_own_steps(loaded: Any) -> None:
    pipe = loaded("t2v")
    counts = lossy.steps_of_experts(pipe, 40)
    assert sum(counts.values()) == 40
    assert min(counts.values()) > 5
    assert lossy.steps_of_experts(loaded("ti2v-t2v"), 40) == {"transformer": 40}


def test_a_job_approximates_for_itself(renderer: Renderer, render: Render, tmp_path: Path) -> None:
    before = render(steps=STEPS)
    near = render(steps=STEPS, options={"lossy": "taylorseer"})
    assert {one["name"] for one in near.recipe["caches"]} == {"taylorseer"}
    assert near.recipe["options"] == {"lossy": "taylorseer"}
    assert near.recipe["frames_sha256"] != before.recipe["frames_sha256"]
    asked = [0]

    def soon() -> bool:
        asked[0] += 1
        return asked[0] > 40

    request = request_for(tmp_path / "cancelled", steps=STEPS, options={"lossy": "taylorseer"})
    with pytest.raises(Cancelled):
        renderer.render(request, lambda _: None, soon)
    after = render(steps=STEPS)
    assert after.recipe["caches"] == []
    assert after.recipe["frames_sha256"] == before.recipe["frames_sha256"]


def test_a_wrong_option_is_the_jobs_fault_before_anything_is_loaded(models_dir: Path, tmp_path: Path) -> None:
    renderer = Renderer(models_dir, "cpu")
    with pytest.raises(RenderFault, match=r"options\.lossy: .*at least 8") as fault:
        renderer.render(request_for(tmp_path / "out", options={"lossy": "sea"}), lambda _: None, lambda: False)
    assert fault.value.code == "invalid_input"
    assert renderer.lane is None
