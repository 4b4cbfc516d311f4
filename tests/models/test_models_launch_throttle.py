"""The CPU stays near the device: a look at a render means now, and not a step ahead of it."""

from pathlib import Path

import pytest
from model_parts import request_for

from models.progress import render_monitor
from models.progress.launch_throttle import LaunchThrottle
from models.render.renderer import Renderer


class Queue:
    """A device's queue, as far as it shows: which marks were put behind the work, and which were waited for."""

    def __init__(self) -> None:
        self.put_so_far = self.done = self.worst = 0

    def put(self) -> "_Mark":
        self.put_so_far += 1
        self.worst = max(self.worst, self.put_so_far - self.done)
        return _Mark(self, self.put_so_far)


class _Mark:
    def __init__(self, queue: Queue, number: int) -> None:
        self._queue, self._number = queue, number

    def synchronize(self) -> None:
        self._queue.done = max(self._queue.done, self._number)


def test_no_more_than_two_pieces_are_ahead() -> None:
    queue = Queue()
    pace = LaunchThrottle(queue.put)
    ahead = []
    for _ in range(5):
        pace.keep()
        ahead.append(queue.put_so_far - queue.done)
    assert ahead == [1, 2, 2, 2, 2], "two are enough to be busy with, and the third waits"


def test_every_block_every_step_and_every_decode_keeps_the_pace(
    renderer: Renderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue()
    monkeypatch.setattr(render_monitor, "pace_on", lambda device: LaunchThrottle(queue.put))
    request = request_for(tmp_path / "out")
    renderer.render(request, lambda _: None, lambda: False)
    assert renderer._loaded is not None
    blocks, passes = len(renderer._loaded.pipe_for("t2v").transformer.blocks), 2
    decodes = (request.frames - 1) // 4 + 1
    assert queue.put_so_far == request.steps * (blocks * passes + 1) + decodes
    assert queue.worst == 3
