"""The training loop ends with its budget, and goes on where it was broken off."""

import json
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tools.tiny import lessons, together, words
from tools.tiny.average import Average
from tools.tiny.loop import Budget, Seconds, Steps, train


class Line:
    """Learns to double a number. Its examples depend on their number alone. breaks_at: the feed that fails."""

    def __init__(self, breaks_at: int = -1) -> None:
        torch.manual_seed(0)
        self.layer, self.feeds, self._breaks_at = torch.nn.Linear(1, 1), 0, breaks_at

    @property
    def parameters(self) -> list[Tensor]:
        return list(self.layer.parameters())

    def feed(self) -> None:
        if self.feeds == self._breaks_at:
            raise KeyboardInterrupt
        self.feeds += 1

    def loss(self) -> Tensor:
        x = torch.tensor([[1.0], [-0.5]])
        return (self.layer(x) - 2 * x).square().mean()


def trained(line: Line, budget: Budget, folder: Path, save_every_s: float = 60.0) -> Average:
    average = Average(line.parameters)
    state = folder / "line.state.safetensors"
    log = folder / "progress.jsonl"
    train(line, budget, name="line", rate=0.1, log=log, average=average, state=state, save_every_s=save_every_s)
    return average


def test_so_many_steps_are_done_and_it_learns(tmp_path: Path) -> None:
    line = Line()
    before = float(line.loss().detach())
    trained(line, Steps(200), tmp_path)
    assert line.feeds == 200
    assert float(line.loss().detach()) < before / 10
    told = [json.loads(text) for text in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert told[-1]["step"] == 200
    assert told[-1]["done"]


def test_a_clock_that_is_over_does_nothing(tmp_path: Path) -> None:
    line = Line()
    before = [weight.detach().clone() for weight in line.parameters]
    trained(line, Seconds(time.time() - 2, time.time() - 1), tmp_path)
    assert line.feeds == 0
    # its step was run, to be compiled
    assert all(torch.equal(one, other) for one, other in zip(before, line.parameters, strict=True))


def test_a_clock_passes_from_none_to_all_of_it() -> None:
    now = time.time()
    assert Seconds(now + 50, now + 60).passed(0) <= 0
    assert Seconds(now - 60, now - 50).passed(0) == 1


def test_broken_off_and_gone_on_is_as_never_broken_off(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    unbroken = Line()
    mean = trained(unbroken, Steps(40), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(Line(breaks_at=17), Steps(40), tmp_path, save_every_s=-1)
    second = Line()
    again = trained(second, Steps(40), tmp_path)
    assert second.feeds == 40 - 17
    assert again.count == mean.count
    for one, other in zip([*second.parameters, *again.shadow], [*unbroken.parameters, *mean.shadow], strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path) -> None:
    line = Line()
    with torch.no_grad():
        line.layer.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="line: the loss is nan"):
        trained(line, Steps(5), tmp_path)


@pytest.mark.soak
@pytest.mark.long
def test_a_vae_and_an_expert_are_trained_from_nothing_and_leave_what_can_be_loaded(tmp_path: Path) -> None:
    """Nearly no steps: that everything fits together."""
    from safetensors.torch import save_file

    place = lessons.Place(tmp_path, torch.device("cpu"), lessons.EFFORTS["small"], "plain")
    lessons.learn_vae("vae21", place, Steps(2), Steps(1))
    assert place.settled("vae21").is_file()
    settled = place.weights("vae21").read_bytes()
    (tmp_path / "words").mkdir()
    save_file({"table": words.table().contiguous()}, tmp_path / "words" / "table.safetensors")
    lessons.learn_expert("t2v-low", place, lambda: Steps(2))
    lessons.load_expert("t2v-low", place)
    assert not list(tmp_path.glob("*.state.safetensors"))
    lessons.learn_vae("vae21", place, Steps(0), Steps(1))
    assert place.weights("vae21").read_bytes() != settled  # the decoder went on, the latents stay


class Waiting:
    """A pupil that needs another one. It notes what was there when it began."""

    needs, vae = ("other",), "vae21"

    def __init__(self, folder: Path) -> None:
        self.lesson, self.began_with, self._folder = Line(), "", folder

    def begin(self) -> None:
        self.began_with = (self._folder / "other.done").read_text()

    def save(self) -> None:
        (self._folder / "waiting.safetensors").touch()

    def close(self) -> None:
        """Nothing else is left."""


def test_who_has_a_place_in_the_timetable_waits_for_what_it_needs(tmp_path: Path) -> None:
    place = lessons.Place(tmp_path, torch.device("cpu"), lessons.EFFORTS["small"], "plain", begin=time.time())
    place.settled("vae21").touch()
    pupil = Waiting(tmp_path)
    thread = threading.Thread(target=lessons.learn, args=("waiting", pupil, place, lambda: Steps(5), 0.1))
    thread.start()
    while not (tmp_path / "waiting.ready").is_file():
        time.sleep(0.01)
    assert thread.is_alive()
    draft = tmp_path / "other.draft"
    draft.write_text("all of it")
    draft.rename(place.done("other"))
    thread.join(60)
    assert pupil.began_with == "all of it"
    assert place.done("waiting").is_file()
    assert (tmp_path / "waiting.safetensors").is_file()


def test_a_timetable_can_be_changed_for_one() -> None:
    changed = together.timetable("ti2v 0.1 0.3; settled 0.05")
    assert changed["ti2v"] == (0.1, 0.3)
    assert changed["settled"] == (0.05,)
    assert changed["t2v-low"] == together.timetable("")["t2v-low"]
    with pytest.raises(ValueError, match="could not convert"):
        together.timetable("ti2v early late")
