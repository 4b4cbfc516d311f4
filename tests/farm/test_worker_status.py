"""What workers tell travels as JSON between processes of different versions."""

import json

from hypothesis import given
from hypothesis import strategies as st

from farm.jobs.worker_status import WorkerState, WorkerStatus

WORDS = st.none() | st.text(max_size=20)


@given(
    st.builds(
        WorkerStatus,
        device=st.text(max_size=20),
        state=st.sampled_from(WorkerState),
        models=st.lists(st.text(max_size=9), max_size=3).map(tuple),
        memory=st.none() | st.dictionaries(st.text(max_size=9), st.none() | st.floats(0, 1e12) | st.booleans()),
        lane=WORDS,
        reason=WORDS,
        leaves=st.booleans(),
        pid=st.none() | st.integers(1, 2**22),
    )
)
def test_it_comes_back_as_it_was_told(status: WorkerStatus) -> None:
    assert WorkerStatus.from_json(json.loads(json.dumps(status.to_json()))) == status


def test_another_versions_worker_is_understood_as_far_as_it_goes() -> None:
    newer = WorkerStatus.from_json({"state": "meditating", "models": ["a"], "mood": {"calm": 1}})
    assert (newer.state, newer.models) == (WorkerState.BUSY, ("a",)), "a state that is not known promises nothing"
    assert WorkerStatus.from_json({}) == WorkerStatus()
