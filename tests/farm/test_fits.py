"""The text that travels with a job says the same as the plans that the engine chooses from."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.scheduling.memory_fit import MB, Memory, burden_of, needs_of
from models import catalog
from models.catalog import MODELS, Settled
from models.catalog.shape import size_of_area
from models.planning import plan

ROOMY = Memory()


@st.composite
def shapes(draw: st.DrawFn) -> Settled:
    model = draw(st.sampled_from(sorted(MODELS.values(), key=lambda model: model.id)))
    task = next(iter(model.tasks))
    settled = catalog.settle(model, task, {})
    width, height = size_of_area(
        model, draw(st.integers(256 * 256, model.limits.max_pixels)), draw(st.floats(0.6, 1.7))
    )
    return replace(settled, width=width, height=height, frames=draw(st.integers(1, 30)) * 4 + 1)


LORAS = st.lists(
    st.fixed_dictionaries(
        {"expert": st.sampled_from(["both", "high", "low"]), "size": st.integers(1000, 3_000_000_000)}
    ),
    max_size=2,
)


@given(shapes(), st.integers(1, 120_000), st.integers(1, 150_000), st.booleans(), st.sampled_from([None, "pab"]), LORAS)
@settings(max_examples=300)
def test_a_worker_holds_what_its_engine_would_find_a_plan_for(
    shape: Settled, device_mb: int, host_mb: int, fp8: bool, lossy: str | None, loras: list[dict[str, Any]]
) -> None:
    burden = burden_of(shape, {"lossy": lossy} if lossy else {}, loras)
    assert burden.lora_bytes == plan.lora_bytes(shape.model, [(one["expert"], one["size"]) for one in loras])
    needs = needs_of(burden)
    assert len(needs) <= 64, "Redis keeps it packed"

    def planned(more_mb: float) -> bool:
        room = plan.Room((device_mb + more_mb) * MB, (host_mb + more_mb) * MB)
        return plan.choose(burden, room, fp8=fp8) is not None

    # whole megabytes: what is said to fit does fit, and what is not has less than two to spare
    if Memory(device_mb, host_mb, fp8).holds(needs):
        assert planned(0)
    else:
        assert not planned(-2)


def test_what_an_engine_tells_is_read_and_written() -> None:
    told = Memory.of({"device_bytes": 24.5e9, "host_bytes": 64e9, "fp8": True})
    assert told is not None
    assert (told, told.text) == (Memory(24_500, 64_000, True), "24500:64000r")
    assert told.room == plan.Room(24.5e9, 64e9)
    assert Memory.of({"device_bytes": None, "host_bytes": None, "fp8": False}) == ROOMY
    assert ROOMY.room == plan.Room(float("inf"), float("inf"))
    assert (Memory.of(None), Memory.of("much")) == (None, None)


@pytest.mark.parametrize(
    ("memory", "needs", "held"),
    [
        (Memory(10, 0), "20:0 10:5", False),
        (Memory(10, 5), "20:0 10:5", True),
        (Memory(20, 0), "20:0 10:5", True),
        (Memory(10, 9), "20:0 10:9r", False),
        (Memory(10, 9, True), "20:0 10:9r", True),
        (Memory(0, 0), "", True),
        (ROOMY, "999999:999999", True),
    ],
)
def test_one_way_is_enough(memory: Memory, needs: str, held: bool) -> None:
    assert memory.holds(needs) is held
