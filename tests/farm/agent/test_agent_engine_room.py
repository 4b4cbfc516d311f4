"""To how many at once the one engine of a slot is lent."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from farm.agent.engine_room import EngineRoom
from farm.config import Settings
from farm.engine.slots import Slot
from models.planning.request import RenderRequest


class Enough(Exception):
    """Waited for long enough."""


@pytest.fixture
def room(tmp_path: Path) -> Iterator[EngineRoom]:
    settings = Settings(
        state_dir=tmp_path,
        worker={"engine": "tests.engines.actions"},
        lease={"seconds": 0.5, "stuck_s": 1.0, "cancel_grace_s": 0.5},
    )
    room = EngineRoom(settings, Slot("cpu-0"))
    room.open()
    assert room.wait(lambda: room.ready)
    yield room
    room.close()


def is_lent(room: EngineRoom, held: ExitStack, *, alone: bool = False) -> bool:
    """Whether the engine is to be had now; it is kept until `held` closes."""

    def give_up() -> None:
        raise Enough

    try:
        held.enter_context(room.lend("r", give_up, alone=alone)).rendered()
    except Enough:
        return False
    return True


def test_one_draws_beside_one_that_is_encoded_and_none_beside_two(room: EngineRoom) -> None:
    with ExitStack() as first:
        with ExitStack() as others:
            with room.lend("r", lambda: None):
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


def test_what_is_made_ready_for_nobody_keeps_it_a_while_and_not_for_ever(room: EngineRoom, tmp_path: Path) -> None:
    """The attempt was cancelled meanwhile; the next one may need another model, which waits for what reads a clip."""

    def making(render: str, prompt: str) -> RenderRequest:
        out = str(tmp_path / "out")
        return RenderRequest("actions", "t2v", prompt, "", 64, 64, 5, 8, 4, 4.0, None, 5.0, 1, out)

    with ExitStack() as held:
        with room.lend("a", lambda: None) as loan:
            room.prefetch("b", making("b", f"ahead-spoilt:{tmp_path / 'go'}"))
            engine = loan.engine
        assert not is_lent(room, held), "it is at work for another"
        with ExitStack() as own:
            own.enter_context(room.lend("b", lambda: None))
        (tmp_path / "go").touch()
        with room.lend("c", lambda: None) as loan:
            assert loan.engine is engine, "it came to an end"
            room.prefetch("d", making("d", "ahead-deaf"))
        with room.lend("e", lambda: None, alone=True) as loan:
            assert loan.engine is not engine
            assert engine.gone.is_set()
