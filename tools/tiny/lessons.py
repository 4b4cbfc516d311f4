"""One process each: a VAE, a transformer, a LoRA. They meet in a folder: who is done leaves its file there, and whoever
waits for it begins."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from tools.tiny import autoencoders, checkpoint, experts, words
from tools.tiny.average import Average
from tools.tiny.denoising import Denoising
from tools.tiny.loop import Budget, Lesson, train
from tools.tiny.sheets import sheet
from tools.tiny.sizes import SIDES


@dataclass(frozen=True)
class Effort:
    """How much is done at once. window, decoder_window: of a VAE's clips, as shares of a side."""

    vae_batch: int
    window: float
    decoder_batch: int
    decoder_window: float
    batch: int
    bank: int
    piece: int
    first_fill: int
    feeds_every: int


EFFORTS = {
    "cuda": Effort(32, 0.5, 4, 1.0, 96, 6144, 32, 1024, 24),
    "cpu": Effort(4, 0.25, 1, 0.5, 8, 2048, 1, 48, 8),
    # to rehearse
    "small": Effort(1, 0.25, 1, 0.25, 2, 16, 2, 4, 2),
}
#: how a transformer's step is run, the fastest first; who fails in one is tried in the next
MODES = ("compiled", "recorded", "plain")


@dataclass(frozen=True)
class Place:
    """Where a lesson is held. begin: seconds since the epoch before which it does not begin; 0 for at once, with what
    others have left there by then."""

    folder: Path
    device: Any
    effort: Effort
    mode: str
    begin: float = 0.0

    def weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def settled(self, kind: str) -> Path:
        """Lies there once the latents of a VAE are final."""
        return self.folder / f"{kind}.settled"

    def done(self, name: str) -> Path:
        """Lies there once a lesson has ended."""
        return self.folder / f"{name}.done"

    @property
    def recorded(self) -> bool:
        """Whether steps are played as CUDA graphs."""
        return self.mode != "plain"

    def state(self, name: str) -> Path:
        """Where a lesson that was broken off goes on from."""
        return self.folder / f"{name}.state.safetensors"

    @property
    def log(self) -> Path:
        return self.folder / "progress.jsonl"


def prepare(device: str, mode: str, threads: int) -> Any:
    """Settings of this process. Returns the device."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(int(time.time() * 1000) % 2**31)
    return torch.device(device)


def learn_vae(kind: str, place: Place, both: Budget, decoder: Budget, rate: float = 2e-3) -> None:
    """Both halves first, then the decoder alone; the first part is left out when the latents are settled already."""
    path = place.weights(kind)
    vae = autoencoders.load(kind, path) if path.is_file() else autoencoders.make(kind)
    vae = vae.to(place.device)
    if not place.settled(kind).is_file():
        _learn_both(vae, kind, place, both, rate)
    window = round(place.effort.decoder_window * SIDES[kind])
    lesson = autoencoders.Decoder(vae, kind, place.device, batch=place.effort.decoder_batch, window=window)
    average = Average(lesson.parameters)

    def keep() -> None:
        average.swap()
        autoencoders.save(vae, path)
        average.swap()

    name = f"{kind}-decoder"
    train(
        lesson,
        decoder,
        name=name,
        rate=rate / 2,
        log=place.log,
        average=average,
        on_save=keep if place.device.type == "cpu" else None,
        state=place.state(name),
        record=place.recorded,
    )
    _finish(average)
    autoencoders.save(vae, path)
    place.state(name).unlink(missing_ok=True)


def _learn_both(vae: Any, kind: str, place: Place, budget: Budget, rate: float) -> None:
    effort, state = place.effort, place.state(kind)
    window = round(effort.window * SIDES[kind])
    lesson = autoencoders.Both(vae, kind, place.device, batch=effort.vae_batch, window=window)
    average = Average(lesson.parameters)
    record = place.recorded
    train(lesson, budget, name=kind, rate=rate, log=place.log, average=average, state=state, record=record)
    _finish(average)
    count = 8 if effort.batch == 2 else 96
    autoencoders.scale(vae, kind, place.device, count=count, batch=min(count, 4 * effort.decoder_batch))
    autoencoders.save(vae, place.weights(kind))
    place.settled(kind).touch()
    state.unlink(missing_ok=True)


def _finish(average: Average) -> None:
    """The mean becomes the model, if it is one of enough."""
    if average.count > 20:
        average.swap()


class Pupil(Protocol):
    """What `learn` trains: a lesson, what it needs before it can begin, and what it leaves.

    needs   names whose weights it takes over, or learns beside; vae: whose latents it learns in
    begin   takes in place what is there now; the step is recorded by then
    save    writes the weights; the mean of the last ones is in the model
    close   writes what whoever goes on needs besides
    """

    needs: tuple[str, ...]
    vae: str

    @property
    def lesson(self) -> Lesson: ...
    def begin(self) -> None: ...
    def save(self) -> None: ...
    def close(self) -> None: ...


def learn(name: str, pupil: Pupil, place: Place, budget: Callable[[], Budget], rate: float) -> None:
    """Train until the budget is spent, which begins when everything that is needed is there."""
    average = Average(pupil.lesson.parameters)

    def begin() -> Budget:
        (place.folder / f"{name}.ready").touch()
        wait(place, pupil.vae, pupil.needs)
        pupil.begin()
        return budget()

    def keep() -> None:
        average.swap()
        pupil.save()
        average.swap()
        pupil.close()

    train(
        pupil.lesson,
        budget(),
        name=name,
        rate=rate,
        log=place.log,
        feeds_every=place.effort.feeds_every,
        average=average,
        prepared=begin,
        on_save=keep,
        save_every_s=60.0 if place.device.type == "cuda" else 300.0,
        state=place.state(name),
        record=place.recorded,
    )
    _finish(average)
    pupil.save()
    pupil.close()
    place.state(name).unlink(missing_ok=True)
    place.done(name).touch()


def wait(place: Place, vae: str, needs: tuple[str, ...]) -> None:
    """Until the latents of a VAE are final and, by a timetable, its time has come and what it needs has ended."""
    waits = [place.settled(vae)]
    if place.begin:
        waits += [place.done(needed) for needed in needs]
    while time.time() < place.begin or not all(path.is_file() for path in waits):
        time.sleep(0.2)


class Transformer:
    """A pupil: one transformer, in the latents of its VAE."""

    def __init__(self, name: str, place: Place, *, stills: bool = False) -> None:
        self._name, self._place, self._expert = name, place, experts.EXPERTS[name]
        expert, effort = self._expert, place.effort
        self.vae = expert.vae
        self.needs: tuple[str, ...] = (expert.start,) if expert.start else ()
        self._dit = experts.make(name).to(place.device).train()
        self._bank = experts.Bank(expert.kind, expert.vae, place.device, size=effort.bank, piece=effort.piece)
        table = words.load_table(place.folder / "words")
        self.lesson = Denoising(self._dit, expert, self._bank, table, batch=effort.batch, stills=stills)
        if place.mode == "compiled":
            # clips and single pictures: two sizes, each compiled for itself
            self._dit.compile_repeated_blocks(fullgraph=True, dynamic=False)

    @property
    def _clips(self) -> Path:
        return self._place.folder / f"{self._expert.kind}.clips.safetensors"

    def begin(self) -> None:
        """The weights that it goes on from, its own or another one's, and clips in the latents of the VAE."""
        place, bank = self._place, self._bank
        own, start = place.weights(self._name), place.weights(self._expert.start)
        if own.is_file():
            self._dit.load_state_dict(_state(own))
        elif start.is_file():
            experts.begin_with(self._dit, _state(start))
        bank.serve(autoencoders.load(self.vae, place.weights(self.vae)))
        bank.take(self._clips)
        while int(bank.filled) < place.effort.first_fill:
            bank.refresh()

    def save(self) -> None:
        checkpoint.write(self._dit.state_dict(), self._place.weights(self._name))

    def close(self) -> None:
        self._bank.keep(self._clips)


def learn_expert(
    name: str, place: Place, budget: Callable[[], Budget], rate: float = 1.5e-3, stills: bool = False
) -> None:
    """One transformer, in the latents of its VAE, once they are settled; its budget begins then."""
    learn(name, Transformer(name, place, stills=stills), place, budget, rate)


def _state(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def load_expert(name: str, place: Place) -> Any:
    """A trained transformer, reading short texts."""
    dit = experts.make(name)
    dit.load_state_dict(_state(place.weights(name)))
    dit.set_attn_processor(experts.ShortText())
    return dit.to(place.device).eval()


def show(place: Place) -> None:
    """Sheets of what there is by now: the VAEs' clips beside the drawn ones, and each model's answers to some texts."""
    from tools.tiny import whole, world
    from tools.tiny.sampling import clips_of
    from tools.tiny.sizes import FRAMES

    count = 2 if place.effort.batch == 2 else 8
    steps = 2 if place.effort.batch == 2 else 12
    scenes = world.some(count, generator=torch.Generator().manual_seed(5))
    for slot, words_ in enumerate(world.SLOTS):
        scenes.named[:, slot] = (torch.arange(count) * (1 + slot // 3) + slot) % len(words_)
    scenes = world.Scenes(scenes.named.to(place.device), scenes.chance.to(place.device))
    table = words.load_table(place.folder / "words").to(place.device)
    text, nothing = table[words.row(scenes.named)], table[-1:]
    vaes, drawn = {}, {}
    for kind, side in SIDES.items():
        if not place.settled(kind).is_file():
            continue
        vaes[kind] = autoencoders.load(kind, place.weights(kind)).to(place.device).eval()
        drawn[kind] = world.draw(scenes, FRAMES, side, side)
        with torch.no_grad():
            again = whole.decode(vaes[kind], whole.encode(vaes[kind], drawn[kind])[0]).clamp(-1, 1)
        error = (again - drawn[kind]).square().mean()
        print(f"{kind}: PSNR {10 * torch.log10(4 / error):.1f} dB", flush=True)
        sheet([clip for pair in zip(drawn[kind][:4], again[:4], strict=False) for clip in pair], _png(place, kind))
    print("texts:", *(words.caption(tuple(named)) for named in scenes.named.tolist()), sep="\n  ", flush=True)
    for name, parts, vae, boundary, picture, last in (
        ("t2v", ("t2v-high", "t2v-low"), "vae21", 0.875, False, False),
        ("i2v", ("i2v-high", "i2v-low"), "vae21", 0.9, True, False),
        ("flf2v", ("i2v-high", "i2v-low"), "vae21", 0.9, True, True),
        ("ti2v", ("ti2v",), "vae22", 0.0, False, False),
        ("ti2v-picture", ("ti2v",), "vae22", 0.0, True, False),
    ):
        if vae not in vaes or not all(place.weights(part).is_file() for part in parts):
            continue
        clips = clips_of(
            [load_expert(part, place) for part in parts],
            vaes[vae],
            text,
            nothing,
            boundary=boundary,
            steps=steps,
            pictures=drawn[vae][:, :, 0] if picture else None,
            last=drawn[vae][:, :, -1] if last else None,
        )
        sheet(clips, _png(place, name))
        print(f"{name}: first picture PSNR {_psnr(clips[:, :, 0], drawn[vae][:, :, 0]):.1f} dB", flush=True)


def _psnr(one: Any, other: Any) -> float:
    return float(10 * torch.log10(4 / (one - other).square().mean()))


def _png(place: Place, name: str) -> Path:
    return place.folder / "sheets" / f"{name}.png"
