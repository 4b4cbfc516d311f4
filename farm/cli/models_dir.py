"""Where the weights lie that a command is about."""

from pathlib import Path

import click

from farm.cli.session import Session

MODELS_DIR = click.option(
    "--models-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Holds a folder of weights per model. Default: worker.models_dir, else models in the state folder.",
)


def folder_of(session: Session, given: Path | None) -> Path:
    """The folder of all models' weights: as given, else as the settings say."""
    return session.farm_settings().models_dir if given is None else given


def known(model_id: str) -> str:
    """The id of a catalog model, or a BadParameter that lists them."""
    from models import catalog

    try:
        return catalog.get(model_id).id
    except catalog.ShapeError as error:
        raise click.BadParameter(error.detail, param_hint="MODEL") from None
