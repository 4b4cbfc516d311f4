"""To how many at once the one engine of a slot is lent."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from farm.agent.engine_room import EngineRoom
from farm.config import Settings
from farm.engine.slots import Slot


class Enough(Exception):
    """Waited for long enough."""


@pytest.fixture
def room(tmp_path: Path) -> Iterator[EngineRoom]:
    room = EngineRoom(Settings(state_dir=tmp_path, worker={"engine": "tests.engines.actions"}), Slot("cpu-0"))
    room.open()
    assert room.wait(lambda: room.ready)
    yield room
    room.close()


def is_lent(room: EngineRoom, held: ExitStack, *, alone: bool = False) -> bool:
    """Whether the engine is to be had now; it is kept until `held` closes."""

    def give_up() -> None:
        raise Enough

    try:
        held.enter_context(room.lend(give_up, alone=alone)).drawn()
    except Enough:
        return False
    return True


def test_one_draws_beside_one_that_is_encoded_and_none_beside_two(room: EngineRoom) -> None:
    with ExitStack() as first:
        with ExitStack() as others:
            with room.lend(lambda: None):
                assert not is_lent(room, others), "it is drawing"
            assert is_lent(room, first)
            assert is_lent(room, others)
            assert not is_lent(room, others), "the frames of two are in it"
        with ExitStack() as others:
            assert is_lent(room, others)
    assert room.free


def test_one_that_wants_it_alone_has_it_alone(room: EngineRoom) -> None:
    with ExitStack() as beside:
        assert is_lent(room, beside)
        assert not is_lent(room, beside, alone=True)
    with ExitStack() as alone, ExitStack() as beside:
        assert is_lent(room, alone, alone=True)
        assert not is_lent(room, beside), "also when it is drawn"
