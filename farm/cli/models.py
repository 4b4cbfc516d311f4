"""`wanfarm models`: what can be rendered, and the weights for it on this machine."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm, runs_here

if TYPE_CHECKING:
    from models.hub import PullProgress
    from models.model import Model, Network

_MODELS_DIR = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Holds a folder of weights per model. Default: worker.models_dir, else models in the state folder.",
)


@click.group()
def models() -> None:
    """Models: what can be rendered, and the weights for it."""


@models.command("list")
@click.option("--here", is_flag=True, help="Instead, the weights that can lie on this machine, and whether they do.")
@_MODELS_DIR
@asks_the_farm
def list_models(session: Session, here: bool, models_dir: Path | None) -> None:
    """List the farm's models; `ready` are those that a live worker offers."""
    if here:
        _list_here(session, _folder(session, models_dir))
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
                f"{model.defaults.width}x{model.defaults.height}, {model.defaults.frames} frames, "
                f"{model.defaults.steps} steps",
                " ".join(model.resolutions),
                model.title,
            ]
            for model in found
        ],
        empty="the farm knows no models",
    )


def _list_here(session: Session, folder: Path) -> None:
    """Every folder of weights of the catalog, and every network's: what is in it and where it comes from."""
    from models import catalog, networks

    rows = [_weights_row(folder, model) for model in catalog.MODELS.values() if not model.weights.tiny]
    rows += [_weights_row(folder, network) for network in networks.NETWORKS.values()]
    if session.out.as_json:
        session.out.document(rows)
        return
    session.out.table(
        ["weights", "here", "hub", "revision"],
        [[row["id"], row["here"], row["repo"], row["revision"]] for row in rows],
        empty="the catalog is empty",
    )


def _weights_row(folder: Path, entry: "Model | Network") -> dict[str, str]:
    """`here`: at which commit, or why not. `revision`: what is pulled when none is given."""
    from models import hub

    repo, revision = hub.source_of(entry)
    return {"id": entry.id, "here": hub.state_of(folder / hub.folder_of(entry)), "repo": repo, "revision": revision}


@models.command("show")
@click.argument("model_id", metavar="MODEL")
@_MODELS_DIR
@runs_here
def show(session: Session, model_id: str, models_dir: Path | None) -> None:
    """Show what a model does and takes, where its weights come from, and whether they are on this machine."""
    from models import catalog

    model, folder = catalog.get(_known(model_id)), _folder(session, models_dir)
    d = model.defaults
    shown: dict[str, Any] = {
        "model": model.id,
        "title": model.title,
        "tasks": {task: list(model.roles(task)) for task in model.tasks},
        "default": f"{d.width}x{d.height}, {d.frames} frames at {d.fps} fps, {d.steps} steps",
        "weights": None if model.weights.tiny else _weights_row(folder, model),
        "base": None if model.base is None or model.weights.tiny else _weights_row(folder, catalog.get(model.base)),
        "looks_with": [
            {
                **_weights_row(folder, one),
                "title": one.title,
                "licence": one.licence,
                "form": one.form,
                "gb": one.size_gb,
            }
            | {"tasks": list(one.tasks)}
            for one in model.looks_with
        ],
    }
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
            told = (
                f"{row['title']}; {row['form']}, {row['licence']}, {row['gb']:g} GB; for {' and '.join(row['tasks'])}"
            )
            session.out.line(f"    {told}")


@models.command("build-tiny")
@click.argument("ids", nargs=-1, metavar="[MODEL]...")
@_MODELS_DIR
@runs_here
def build_tiny(session: Session, ids: tuple[str, ...], models_dir: Path | None) -> None:
    """Build the tiny models (random weights: they test the plumbing and draw noise). Nothing is downloaded."""
    from models import catalog, tiny

    folder = _folder(session, models_dir)
    wanted = ids or tuple(model.id for model in catalog.MODELS.values() if model.weights.tiny)
    built = {}
    for model_id in wanted:
        _known(model_id)
        session.out.say(f"building {model_id}")
        built[model_id] = str(_done(partial(tiny.ensure, folder, model_id)))
    if session.out.as_json:
        session.out.document(built)
        return
    for path in built.values():
        session.out.line(path)


@models.command("verify")
@click.argument("ids", nargs=-1, metavar="[MODEL]...")
@_MODELS_DIR
@runs_here
def verify(session: Session, ids: tuple[str, ...], models_dir: Path | None) -> int:
    """Read every file of the models' weights and say what is wrong with them. Default: all that are here.

    Of a model that looks at clips, also those of the networks that it looks with; or name one, as preprocess/pose.
    """
    from models import catalog, hub, networks, weights
    from models.model import Model

    folder = _folder(session, models_dir)
    entries = [_entry(one) for one in ids]
    entries += [network for one in entries if isinstance(one, Model) for network in one.looks_with]
    known: list[Model | Network] = [*catalog.MODELS.values(), *networks.NETWORKS.values()]
    wanted = entries or [one for one in known if (folder / one.id).is_dir()]
    if not wanted:
        raise click.ClickException(f"there are no weights in {folder}")
    problems: dict[str, list[str]] = {}
    for one in wanted:
        lies_in = folder / hub.folder_of(one)
        problems[one.id] = weights.verify(lies_in) if lies_in.is_dir() else ["not here; wanfarm models pull " + one.id]
        if not session.out.as_json:
            session.out.line(f"{one.id}: {'; '.join(problems[one.id]) or 'whole'}")
    if session.out.as_json:
        session.out.document(problems)
    return 1 if any(problems.values()) else 0


@models.command("pull")
@click.argument("model_id", metavar="MODEL")
@click.option(
    "--revision",
    help="A branch, tag or commit of the hub's repository. Default: the commit pulled before, else the catalog's.",
)
@_MODELS_DIR
@runs_here
def pull(session: Session, model_id: str, revision: str | None, models_dir: Path | None) -> None:
    """Fetch a model's weights from the hub; goes on where it was interrupted. Tens of gigabytes, some over a hundred.

    With them comes what they need: the base of a four-step model, the networks that Animate looks at clips with.
    """
    from models import hub, weights
    from models.model import Model

    folder, entry = _folder(session, models_dir), _entry(model_id)
    with _pull_bar(session) as tell:
        if isinstance(entry, Model):
            path = _done(partial(hub.pull, entry, folder, revision, tell))
        else:
            path = _done(partial(hub.pull_network, entry, folder, revision, tell))
    if session.out.as_json:
        session.out.document({"model": entry.id, "folder": str(path), "revision": weights.revision_of(path)})
    else:
        session.out.line(str(path))


@models.command("preprocess")
@click.argument("clip", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--show", "out_dir", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER")
@click.option("--task", type=click.Choice(["animate", "replace"]), default="animate", show_default=True)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The character: the skeleton is drawn with its proportions.",
)
@click.option("--several", type=click.Choice(["refuse", "largest"]), default="refuse", show_default=True)
@click.option("--tiny", is_flag=True, help="With networks of random weights, which see nothing: to try the command.")
@_MODELS_DIR
@runs_here
def preprocess(
    session: Session,
    *,
    clip: Path,
    out_dir: Path,
    task: str,
    picture: Path | None,
    several: str,
    tiny: bool,
    models_dir: Path | None,
) -> None:
    """Look at what Wan-Animate would be shown of a clip: contact sheets of poses, skeletons, faces and masks.

    Nothing is rendered. The networks are read from `preprocess` in the models' folder, where `models pull` puts them.
    """
    from models import catalog, runtime
    from models.preprocess import guides, view
    from models.preprocess.persons import SURE
    from models.request import RenderFault

    model = catalog.get(f"{catalog.ANIMATE_14B.id}-tiny" if tiny else catalog.ANIMATE_14B.id)
    folder = _folder(session, models_dir)
    eyes_folder = guides.folder_of(folder, model)
    if eyes_folder is None:
        missing = f"{folder / 'preprocess'} must hold {' and '.join(guides.PARTS[:2])}"
        raise click.ClickException(f"{missing}: wanfarm models pull preprocess/pose, preprocess/person; or see --tiny")
    runtime.prepare()
    options = {"several": several} | ({"retarget": True} if picture is not None else {})
    try:
        eyes = guides.open_eyes(eyes_folder, runtime.device_of("auto"), task, 0.0 if tiny else SURE)
        sheets = view.show(eyes, model, clip, out_dir, task=task, picture=picture, options=options)
    except RenderFault as fault:
        raise click.ClickException(fault.message) from None
    if session.out.as_json:
        session.out.document({name: str(path) for name, path in sheets.items()})
        return
    for path in sheets.values():
        session.out.line(str(path))


@models.command("calibrate")
@click.argument("model_id", metavar="MODEL")
@click.option("--size", help="WIDTHxHEIGHTxFRAMES. Default: the model's own.")
@click.option("--prompt", default="a person walks through a street in the rain, the camera follows", show_default=True)
@_MODELS_DIR
@runs_here
def calibrate(session: Session, model_id: str, size: str | None, prompt: str, models_dir: Path | None) -> None:
    """Render once with a model's weights and measure what the approximation `mag` needs. Jobs may then ask for it."""
    from models import catalog, warmup
    from models.renderer import Renderer
    from models.request import RenderFault

    defaults = catalog.get(_known(model_id)).defaults
    shape = f"{model_id} {size or f'{defaults.width}x{defaults.height}x{defaults.frames}'}"
    session.out.say(f"rendering {shape} in {defaults.steps} steps")
    try:
        file = warmup.calibrate(Renderer(_folder(session, models_dir)), shape, prompt)
    except (RenderFault, catalog.ShapeError) as error:
        raise click.ClickException(str(error)) from None
    if session.out.as_json:
        session.out.document({"model": model_id, "file": str(file)})
    else:
        session.out.line(str(file))


def _folder(session: Session, given: Path | None) -> Path:
    if given is not None:
        return given
    settings = session.farm_settings()
    return settings.worker.models_dir or settings.state_dir / "models"


def _known(model_id: str) -> str:
    from models import catalog

    try:
        return catalog.get(model_id).id
    except catalog.ShapeError as error:
        raise click.BadParameter(error.detail, param_hint="MODEL") from None


def _entry(given: str) -> "Model | Network":
    """The model of that id, or the network, whose ids begin with preprocess/."""
    from models import catalog, networks

    try:
        return networks.get(given) if given.startswith("preprocess/") else catalog.get(given)
    except catalog.ShapeError as error:
        raise click.BadParameter(error.detail, param_hint="MODEL") from None


def _done(work: Callable[[], Path]) -> Path:
    """`work`, with the errors that people can do something about as words."""
    from models.weights import WeightsError

    try:
        return work()
    except (WeightsError, ValueError) as error:
        raise click.ClickException(str(error)) from None


class _pull_bar:
    """A bar for each thing that is fetched on a terminal, a line per tenth anywhere else."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told: dict[str, int] = {}
        self._progress: Any = None
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> "Callable[[PullProgress], None]":
        if sys.stderr.isatty() and not self._session.out.as_json:
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
                console=self._session.out.console(sys.stderr),
            )
            self._progress.start()
        return self.tell

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, now: "PullProgress") -> None:
        if self._progress is not None:
            if now.what not in self._bars:
                self._bars[now.what] = self._progress.add_task(now.what, total=None)
            self._progress.update(self._bars[now.what], completed=now.done_bytes, total=now.total_bytes or None)
        elif now.total_bytes and (tenth := now.done_bytes * 10 // now.total_bytes) > self._told.get(now.what, -1):
            self._told[now.what] = tenth
            self._session.out.say(f"{now.what}: {tenth * 10} % of {now.total_bytes / 1e9:.1f} GB")
