"""`wanfarm loras`: a tenant's own LoRAs, over HTTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm
from models.weights.lora_file import EXPERTS, MAX_SCALE, checked_scale

if TYPE_CHECKING:
    from farm.wire.own_loras import LoraView


@click.group()
def loras() -> None:
    """Your own LoRAs: `wanfarm submit --lora NAME:0.8` uses them."""


@loras.command("add")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="What jobs call it. Default: the file's name without its ending.")
@asks_the_farm
def add(session: Session, path: Path, name: str | None) -> None:
    """Send a .safetensors file. The farm checks all of it before it takes it."""
    with session.client() as client:
        session.out.say(f"sending {path.name} ({_size(path.stat().st_size)}); the farm looks at every byte of it")
        made = client.loras.add(path, name)
    if session.out.as_json:
        session.out.document(made)
        return
    session.out.line(made.name)
    session.out.say(f"fits {', '.join(made.fits)}")


@loras.command("list")
@asks_the_farm
def list_loras(session: Session) -> None:
    """List your LoRAs."""
    with session.client() as client:
        listed = client.loras.list()
    if session.out.as_json:
        session.out.document(listed)
        return
    session.out.table(
        ["name", ">rank", ">size", "sha256", "added (UTC)", "fits"],
        [
            [one.name, one.rank, _size(one.size), one.sha256[:16], f"{one.created_at:%Y-%m-%d %H:%M}", _families(one)]
            for one in listed
        ],
        empty="no LoRAs; wanfarm loras add FILE",
    )


@loras.command("show")
@click.argument("lora", metavar="NAME")
@asks_the_farm
def show(session: Session, lora: str) -> None:
    """Everything about one LoRA."""
    with session.client() as client:
        found = client.loras.get(lora)
    if session.out.as_json:
        session.out.document(found)
        return
    facts: dict[str, Any] = {
        "name": found.name,
        "id": found.id,
        "sha256": found.sha256,
        "size": f"{_size(found.size)} ({found.size} bytes)",
        "rank": found.rank,
        "layers": found.modules,
        "ignored": f"{found.ignored} tensors (differences of norms or whole weights)" if found.ignored else None,
        "added": found.created_at.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
    }
    session.out.facts(facts | {f"fits {model}": ", ".join(experts) for model, experts in found.fits.items()})


@loras.command("remove")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@asks_the_farm
def remove(session: Session, names: Sequence[str]) -> None:
    """Remove LoRAs. Jobs that are open still use them; new ones cannot."""
    with session.client() as client:
        gone = [client.loras.remove(name) for name in dict.fromkeys(names)]
    if session.out.as_json:
        session.out.document(gone)
        return
    for one in gone:
        session.out.line(one.name)


def parse_wear(text: str) -> dict[str, Any]:
    """NAME, NAME:SCALE or NAME:SCALE:EXPERT, as an option says it."""
    name, *rest = text.split(":")
    chosen: dict[str, Any] = {"lora": name}
    try:
        if rest and rest[0]:
            chosen["scale"] = checked_scale(float(rest[0]))
    except ValueError:
        says = f"{rest[0]!r} is no strength: a number from -{MAX_SCALE:g} to {MAX_SCALE:g}"
        raise click.BadParameter(says, param_hint="--lora") from None
    if len(rest) > 1:
        chosen["expert"] = rest[1]
    if not name or len(rest) > 2 or chosen.get("expert", "both") not in EXPERTS:
        raise click.BadParameter(f"{text!r}: write NAME, NAME:0.8 or NAME:0.8:high", param_hint="--lora")
    return chosen


def _families(lora: "LoraView") -> str:
    """The models' ids without those that are one of them in another way."""
    return ", ".join(model for model in lora.fits if not model.endswith(("-4step", "-4step-tiny")))


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
