"""One process each: a VAE, a transformer. They meet in a folder: a VAE leaves its file there, and whoever waits for it
begins."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tools.tiny import autoencoders, experts, words
from tools.tiny.average import Average
from tools.tiny.denoising import Denoising
from tools.tiny.loop import Budget, train
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
    "cuda": Effort(16, 0.5, 2, 1.0, 128, 8192, 16, 1024, 4),
    "cpu": Effort(4, 0.25, 1, 0.5, 8, 2048, 1, 48, 8),
    # to rehearse
    "small": Effort(1, 0.25, 1, 0.25, 2, 16, 2, 4, 2),
}
#: how a transformer's step is run, the fastest first; who fails in one is tried in the next
MODES = ("compiled", "plain")


@dataclass(frozen=True)
class Place:
    """Where a lesson is held."""

    folder: Path
    device: Any
    effort: Effort
    mode: str

    def weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def settled(self, kind: str) -> Path:
        """Lies there once the latents of a VAE are final."""
        return self.folder / f"{kind}.settled"

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
    )
    _finish(average)
    autoencoders.save(vae, path)
    place.state(name).unlink(missing_ok=True)


def _learn_both(vae: Any, kind: str, place: Place, budget: Budget, rate: float) -> None:
    effort, state = place.effort, place.state(kind)
    window = round(effort.window * SIDES[kind])
    lesson = autoencoders.Both(vae, kind, place.device, batch=effort.vae_batch, window=window)
    average = Average(lesson.parameters)
    train(lesson, budget, name=kind, rate=rate, log=place.log, average=average, state=state)
    _finish(average)
    count = 8 if effort.batch == 2 else 256
    autoencoders.scale(vae, kind, place.device, count=count, batch=min(count, 4 * effort.decoder_batch))
    autoencoders.save(vae, place.weights(kind))
    place.settled(kind).touch()
    state.unlink(missing_ok=True)


def _finish(average: Average) -> None:
    """The mean becomes the model, if it is one of enough."""
    if average.count > 20:
        average.swap()


def learn_expert(
    name: str, place: Place, budget: Callable[[], Budget], rate: float = 1.5e-3, stills: bool = False
) -> None:
    """One transformer, in the latents of its VAE, once they are settled; its budget begins then."""
    expert, effort = experts.EXPERTS[name], place.effort
    dit = experts.make(name)
    path = place.weights(name)
    if path.is_file():
        dit.load_state_dict(_state(path))
    elif expert.start and place.weights(expert.start).is_file():
        experts.begin_with(dit, _state(place.weights(expert.start)))
    dit = dit.to(place.device).train()
    bank = experts.Bank(expert.kind, expert.vae, place.device, size=effort.bank, piece=effort.piece)
    table = words.load_table(place.folder / "words")
    lesson = Denoising(dit, expert, bank, table, batch=effort.batch, stills=stills)
    if place.mode == "compiled":
        # clips and single pictures: two sizes, each compiled for itself
        dit.compile_repeated_blocks(fullgraph=True, dynamic=False)
    average = Average(lesson.parameters)
    clips = place.folder / f"{expert.kind}.clips.safetensors"

    def begin() -> Budget:
        (place.folder / f"{name}.ready").touch()
        while not place.settled(expert.vae).is_file():
            time.sleep(0.2)
        bank.serve(autoencoders.load(expert.vae, place.weights(expert.vae)))
        bank.take(clips)
        while int(bank.filled) < effort.first_fill:
            bank.refresh()
        with torch.no_grad():
            # what the steps before the first clip left in the mean
            for mean, parameter in zip(average.shadow, average.parameters, strict=True):
                mean.copy_(parameter)
        return budget()

    def keep() -> None:
        average.swap()
        _save(dit, path)
        average.swap()
        bank.keep(clips)

    train(
        lesson,
        budget(),
        name=name,
        rate=rate,
        log=place.log,
        feeds_every=effort.feeds_every,
        average=average,
        prepared=begin,
        on_save=keep,
        save_every_s=60.0 if place.device.type == "cuda" else 300.0,
        state=place.state(name),
    )
    _finish(average)
    _save(dit, path)
    bank.keep(clips)
    place.state(name).unlink(missing_ok=True)


def _state(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def _save(model: Any, path: Path) -> None:
    from safetensors.torch import save_file

    draft = path.with_suffix(".draft")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, draft)
    os.replace(draft, path)


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
