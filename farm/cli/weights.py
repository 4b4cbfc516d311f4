"""The part of `wanfarm models` that is about weights on this machine: fetched, built, looked through."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.models_dir import MODELS_DIR, folder_of, known
from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from models.catalog.model import Model, Network
    from models.weights.hub import PullProgress


#: in place of a commit
NOT_PINNED = "not pinned: the newest at the first pull, then that one"


def list_here(session: Session, folder: Path) -> None:
    """Every folder of weights of the catalog, and every network's: what is in it and where it comes from."""
    from models import catalog
    from models.catalog import networks

    rows = [row_of(folder, model) for model in catalog.MODELS.values() if not model.weights.tiny]
    rows += [row_of(folder, network) for network in networks.NETWORKS.values()]
    if session.out.as_json:
        session.out.document(rows)
        return
    session.out.table(
        ["weights", "here", "hub", "revision"],
        [[row["id"], row["here"], row["repo"], row["revision"]] for row in rows],
        empty="the catalog is empty",
    )


def row_of(folder: Path, entry: "Model | Network") -> dict[str, str]:
    """`here`: at which commit, or why not. `revision`: the commit that a first pull takes when none is given."""
    from models.weights import hub

    repo, revision = hub.source_of(entry)
    here = hub.state_of(folder / hub.folder_of(entry))
    return {"id": entry.id, "here": here, "repo": repo, "revision": revision or NOT_PINNED}


@click.command("build-tiny")
@click.argument("ids", nargs=-1, metavar="[MODEL]...")
@MODELS_DIR
@runs_here
def build_tiny(session: Session, ids: tuple[str, ...], models_dir: Path | None) -> None:
    """Build the weights of the tiny models; nothing is downloaded.

    Which of them draw and which render noise: docs/tiny-models.md.
    """
    from models import catalog
    from models.weights import tiny

    folder = folder_of(session, models_dir)
    wanted = ids or tuple(model.id for model in catalog.MODELS.values() if model.weights.tiny)
    built = {}
    for model_id in wanted:
        known(model_id)
        session.out.say(f"building {model_id}")
        built[model_id] = str(_done(partial(tiny.ensure, folder, model_id)))
    if session.out.as_json:
        session.out.document(built)
        return
    for path in built.values():
        session.out.line(path)


@click.command("verify")
@click.argument("ids", nargs=-1, metavar="[MODEL]...")
@MODELS_DIR
@runs_here
def verify(session: Session, ids: tuple[str, ...], models_dir: Path | None) -> int:
    """Read all weights that are here, or a MODEL's, and check them.

    Of Animate also those of the networks that it looks at clips with; name one of them as preprocess/pose.
    """
    from models import catalog
    from models.catalog import networks
    from models.catalog.model import Model
    from models.weights import hub, weights

    folder = folder_of(session, models_dir)
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


@click.command("pull")
@click.argument("model_id", metavar="MODEL")
@click.option(
    "--revision",
    help="A branch, tag or commit of the hub's repository. Default: the commit pulled before, else the catalog's.",
)
@MODELS_DIR
@runs_here
def pull(session: Session, model_id: str, revision: str | None, models_dir: Path | None) -> None:
    """Fetch a model's weights from the hub.

    Tens of gigabytes, some over a hundred; it goes on where it was interrupted.
    With them comes what they need: the base of a four-step model, the networks that Animate looks at clips with.
    """
    from models.catalog.model import Model
    from models.weights import hub, weights

    folder, entry = folder_of(session, models_dir), _entry(model_id)
    with _PullBar(session) as tell:
        if isinstance(entry, Model):
            path = _done(partial(hub.pull, entry, folder, revision, tell))
        else:
            path = _done(partial(hub.pull_network, entry, folder, revision, tell))
    if session.out.as_json:
        session.out.document({"model": entry.id, "folder": str(path), "revision": weights.revision_of(path)})
    else:
        session.out.line(str(path))


def _entry(given: str) -> "Model | Network":
    """The model of that id, or the network, whose ids begin with preprocess/."""
    from models import catalog
    from models.catalog import networks

    try:
        return networks.get(given) if given.startswith("preprocess/") else catalog.get(given)
    except catalog.ShapeError as error:
        raise click.BadParameter(error.detail, param_hint="MODEL") from None


def _done(work: Callable[[], Path]) -> Path:
    """`work`, with the errors that people can do something about as words."""
    from models.weights.weights import WeightsError

    try:
        return work()
    except (WeightsError, ValueError) as error:
        raise click.ClickException(str(error)) from None


class _PullBar:
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
