"""`wanfarm models`: what can be rendered, and the weights for it on this machine."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.session import Session, asks_the_farm, runs_here

if TYPE_CHECKING:
    from models.weights import PullProgress

_MODELS_DIR = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Holds a folder of weights per model. Default: worker.models_dir, else models in the state folder.",
)


@click.group()
def models() -> None:
    """Models: what can be rendered, and the weights for it."""


@models.command("list")
@asks_the_farm
def list_models(session: Session) -> None:
    """List the farm's models; `ready` are those that a live worker offers."""
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
    """Read every file of the models' weights and say what is wrong with them. Default: all that are here."""
    from models import catalog, weights

    folder = _folder(session, models_dir)
    wanted = [_known(model_id) for model_id in ids] or [m for m in catalog.MODELS if (folder / m).is_dir()]
    if not wanted:
        raise click.ClickException(f"there are no weights in {folder}")
    problems = {}
    for model_id in wanted:
        problems[model_id] = weights.verify(folder / model_id)
        if not session.out.as_json:
            session.out.line(f"{model_id}: {'; '.join(problems[model_id]) or 'whole'}")
    if session.out.as_json:
        session.out.document(problems)
    return 1 if any(problems.values()) else 0


@models.command("pull")
@click.argument("model_id", metavar="MODEL")
@click.option("--revision", help="A branch, tag or commit of the hub's repository. Default: the catalog's.")
@_MODELS_DIR
@runs_here
def pull(session: Session, model_id: str, revision: str | None, models_dir: Path | None) -> None:
    """Fetch a model's weights from the hub; goes on where it was interrupted. Tens of gigabytes."""
    from models import weights

    folder = _folder(session, models_dir)
    _known(model_id)
    with _pull_bar(session, model_id) as tell:
        path = _done(lambda: weights.pull(model_id, folder, revision, tell))
    if session.out.as_json:
        session.out.document({"model": model_id, "folder": str(path), "revision": weights.revision_of(path)})
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

    Nothing is rendered. The networks are read from `preprocess` in the models' folder.
    """
    from models import catalog, runtime
    from models.preprocess import guides, view
    from models.preprocess.persons import SURE
    from models.request import RenderFault

    model = catalog.get(f"{catalog.ANIMATE_14B.id}-tiny" if tiny else catalog.ANIMATE_14B.id)
    folder = _folder(session, models_dir)
    eyes_folder = guides.folder_of(folder, model)
    if eyes_folder is None:
        raise click.ClickException(f"{folder / 'preprocess'} must hold {' and '.join(guides.PARTS[:2])}; see --tiny")
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


def _done(work: Callable[[], Path]) -> Path:
    """`work`, with the errors that people can do something about as words."""
    from models.weights import WeightsError

    try:
        return work()
    except (WeightsError, ValueError) as error:
        raise click.ClickException(str(error)) from None


class _pull_bar:
    """A bar on a terminal, a line per tenth anywhere else."""

    def __init__(self, session: Session, model_id: str) -> None:
        self._session, self._model_id = session, model_id
        self._told = -1
        self._progress: Any = None
        self._task: Any = None

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
            self._task = self._progress.add_task(self._model_id, total=None)
            self._progress.start()
        return self.tell

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def tell(self, now: "PullProgress") -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=now.done_bytes, total=now.total_bytes or None)
        elif now.total_bytes and (tenth := now.done_bytes * 10 // now.total_bytes) > self._told:
            self._told = tenth
            self._session.out.say(f"{self._model_id}: {tenth * 10} % of {now.total_bytes / 1e9:.1f} GB")
