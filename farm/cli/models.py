"""`wanfarm models`: what can be rendered, and the weights for it on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli import trials, weights
from farm.cli.models_dir import MODELS_DIR, folder_of, known
from farm.cli.session import Session, asks_the_farm, runs_here

if TYPE_CHECKING:
    from models.catalog.model import Model


@click.group()
def models() -> None:
    """Models: what can be rendered, and the weights for it."""


@models.command("list")
@click.option("--here", is_flag=True, help="Instead, the weights that may be on this machine, and which are.")
@MODELS_DIR
@asks_the_farm
def list_models(session: Session, here: bool, models_dir: Path | None) -> None:
    """List the farm's models. `ready`: a live worker offers it."""
    if here:
        weights.list_here(session, folder_of(session, models_dir))
        return
    with session.client() as client:
        found = client.models()
    if session.out.as_json:
        session.out.document(found)
        return
    session.out.table(
        ["model", "does", "ready", "default", "resolutions", "what it is"],
        [
            [
                model.id,
                " ".join(model.tasks),
                "yes" if model.available else "no",
                f"{model.defaults.width}x{model.defaults.height}, {_length(model.follows, model.defaults.frames)}, "
                f"{model.defaults.steps} steps",
                " ".join(model.resolutions),
                model.title,
            ]
            for model in found
        ],
        empty="the farm knows no models",
    )


@models.command("show")
@click.argument("model_id", metavar="MODEL")
@MODELS_DIR
@runs_here
def show(session: Session, model_id: str, models_dir: Path | None) -> None:
    """Show a model: what it takes, and where its weights are."""
    from models import catalog

    model = catalog.get(known(model_id))
    shown = _shown(model, folder_of(session, models_dir))
    if session.out.as_json:
        session.out.document(shown)
        return
    session.out.line(f"{model.id}: {model.title}")
    for task, roles in shown["tasks"].items():
        session.out.line(f"  {task}: {', '.join(roles) or 'from text alone'}")
    session.out.line(f"  default: {shown['default']}")
    if model.weights.tiny:
        session.out.line("  its weights are built, not fetched")
    for row in (row for row in (shown["base"], shown["weights"], *shown["looks_with"]) if row):
        session.out.line(f"  {row['id']}: {row['here']}")
        session.out.line(f"    {row['repo']} @ {row['revision']}")
        if "title" in row:
            what = f"{row['title']}; {row['form']}, {row['licence']}, {row['gb']:g} GB"
            session.out.line(f"    {what}; for {' and '.join(row['tasks'])}")


def _length(follows: str | None, frames: int, fps: float | None = None) -> str:
    if follows is not None:
        return f"as long as the {follows}"
    return f"{frames} frames" + (f" at {fps} fps" if fps else "")


def _shown(model: "Model", folder: Path) -> dict[str, Any]:
    """As --json writes it."""
    from models import catalog

    d = model.defaults
    return {
        "model": model.id,
        "title": model.title,
        "tasks": {task: list(model.roles(task)) for task in model.tasks},
        "default": f"{d.width}x{d.height}, {_length(model.follows, d.frames, d.fps)}, {d.steps} steps",
        "weights": None if model.weights.tiny else weights.row_of(folder, model),
        "base": None if model.base is None or model.weights.tiny else weights.row_of(folder, catalog.get(model.base)),
        "looks_with": [
            {
                **weights.row_of(folder, one),
                "title": one.title,
                "licence": one.licence,
                "form": one.form,
                "gb": one.size_gb,
                "tasks": list(one.tasks),
            }
            for one in model.looks_with
        ],
    }


for command in (weights.build_tiny, weights.verify, weights.pull, trials.preprocess, trials.calibrate):
    models.add_command(command)
