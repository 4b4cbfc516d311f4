"""Two renders in one engine: one is drawn while the last is encoded and the next is prepared, and none is blamed for
another."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.engine.process import Engine, EngineDied
from models.planning.request import Cancelled, Progress, RenderFault, RenderRequest, RenderResult
from tests.conftest import wait_until

Requests = Callable[..., RenderRequest]


def ignore(_: Progress) -> None:
    pass


class Beside:
    """A render in a thread of its own; `events` is what it and others told, in order."""

    def __init__(self, engine: Engine, render: str, request: RenderRequest, events: list[str]) -> None:
        self.drawn = threading.Event()
        self.end: object = None

        def on_progress(at: Progress) -> None:
            events.append(f"{render} {at.stage}")

        def on_rendered() -> None:
            events.append(f"{render} drawn")
            self.drawn.set()

        def run() -> None:
            try:
                self.end = engine.render(render, request, on_progress, on_rendered=on_rendered)
            except Exception as error:
                self.end = error
            events.append(f"{render} ended")

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def join(self) -> object:
        self._thread.join(30)
        return self.end


@pytest.fixture
def beside(engine: Engine, request_for: Requests) -> Callable[..., Beside]:
    def begin(render: str, prompt: str, events: list[str]) -> Beside:
        return Beside(engine, render, request_for(prompt, ord(render)), events)

    return begin


def test_one_is_encoded_while_the_next_is_drawn(engine: Engine, beside: Callable[..., Beside], tmp_path: Path) -> None:
    events: list[str] = []
    go = tmp_path / "go"
    first = beside("a", f"encode:{go}", events)
    assert first.drawn.wait(90)
    second = beside("b", "slow:2", events)
    assert isinstance(second.join(), RenderResult)
    # a third, too, may be cancelled while the first is at it, and the other way round
    third = beside("c", "slow:1000", events)
    wait_until(lambda: "c denoising" in events, what="the third to be drawn")
    engine.cancel("c")
    assert isinstance(third.join(), Cancelled)
    go.touch()
    assert isinstance(first.join(), RenderResult)
    order = [event for event in dict.fromkeys(events) if event in ("a drawn", "b denoising", "b ended", "a ended")]
    assert order == ["a drawn", "b denoising", "b ended", "a ended"]

    fourth = beside("d", "encode-hang", events)
    assert fourth.drawn.wait(90)
    fifth = beside("e", "slow:3", events)
    wait_until(lambda: "e denoising" in events, what="the fifth to be drawn")
    engine.cancel("d")
    assert isinstance(fourth.join(), Cancelled)
    assert isinstance(fifth.join(), RenderResult)
    assert engine.lane == "actions"


@pytest.mark.parametrize("prompt", ["error", "crash"])
def test_a_fault_while_encoding_leaves_the_next_alone(
    engine: Engine, beside: Callable[..., Beside], prompt: str
) -> None:
    events: list[str] = []
    first = beside("a", f"encode-{prompt}", events)
    assert first.drawn.wait(90)
    second = beside("b", "slow:2", events)
    fault = first.join()
    assert isinstance(fault, RenderFault)
    assert (fault.code, fault.poisoned) == ("engine_error", False)
    assert isinstance(second.join(), RenderResult)


def test_nobody_is_blamed_for_an_engine_that_died_with_two_in_hand(
    engine: Engine, beside: Callable[..., Beside], tmp_path: Path
) -> None:
    events: list[str] = []
    both = [beside("a", f"encode:{tmp_path / 'never'}", events)]
    assert both[0].drawn.wait(90)
    both.append(beside("b", "slow:1000", events))
    wait_until(lambda: "b denoising" in events, what="the second to be drawn")
    assert engine.pid
    os.kill(engine.pid, signal.SIGKILL)
    for end in (one.join() for one in both):
        assert isinstance(end, EngineDied)
        assert end.shared
        assert "SIGKILL" in str(end)


def test_a_poisoned_end_is_one_renders_alone(engine: Engine, beside: Callable[..., Beside]) -> None:
    events: list[str] = []
    first = beside("a", "encode-poisoned", events)
    assert first.drawn.wait(90)
    second = beside("b", "slow:1000", events)
    fault, end = first.join(), second.join()
    assert isinstance(fault, RenderFault)
    assert fault.poisoned
    assert isinstance(end, EngineDied)
    assert end.shared


def test_last_words_are_heard_before_the_end(
    engine: Engine, beside: Callable[..., Beside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes to a dying engine notices first; why it died is in the other pipe."""
    heard = engine._heard

    def hear_late(message: dict[str, Any]) -> None:
        time.sleep(0.1)  # long enough for the process to be gone
        heard(message)

    monkeypatch.setattr(engine, "_heard", hear_late)
    first = beside("a", "encode-poisoned", [])
    assert first.drawn.wait(90)
    second = beside("b", "slow:1000", [])
    assert isinstance(first.join(), RenderFault)
    assert isinstance(second.join(), EngineDied)


def test_what_comes_next_is_prepared_while_another_is_drawn(
    settings: Settings, engine: Engine, beside: Callable[..., Beside], request_for: Requests, tmp_path: Path
) -> None:
    journal = settings.state_dir / "journal"
    journal.write_text("")
    following = replace(request_for("ok"), provenance={"job": "following"})
    first = beside("a", f"draw:{tmp_path / 'go'}", [])
    engine.prefetch("f", following)
    wait_until(lambda: "prepared following" in journal.read_text(), what="the next to be ready")
    (tmp_path / "go").touch()
    assert isinstance(first.join(), RenderResult)
    assert engine.render("f", following, ignore)
    told = journal.read_text().splitlines()
    assert told.index("prepared following") < told.index("drawn j") < told.index("draw following")

    # what goes wrong with it is told by its render, and what kills the engine is not laid to the other
    second = beside("b", f"draw:{tmp_path / 'never'}", [])
    engine.prefetch("g", request_for("ahead-crash"))
    engine.prefetch("h", request_for("ahead-exit"))
    end = second.join()
    assert isinstance(end, EngineDied)
    assert end.shared


def test_an_engine_that_was_alone_is_its_renders(engine: Engine, beside: Callable[..., Beside]) -> None:
    first = beside("a", "encode-sigkill", [])
    end = first.join()
    assert isinstance(end, EngineDied)
    assert not end.shared
