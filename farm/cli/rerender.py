"""`wanfarm rerender`: the same frames again, from a recipe."""

import json
from pathlib import Path

import click

from farm.cli.models_dir import folder_of
from farm.cli.session import Session, runs_here

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("source", metavar="RECIPE.json|VIDEO.mp4", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--inputs",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the input files, under any name: they are found by content. Default: the recipe's folder.",
)
@click.option("--to", "out_dir", type=_FOLDER, default="rerendered", show_default=True, help="A new or empty folder.")
@click.option("--models-dir", type=_FOLDER, help="As of `wanfarm models`.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, ...")
@runs_here
def rerender(
    session: Session, *, source: Path, inputs: Path | None, out_dir: Path, models_dir: Path | None, device: str
) -> int:
    """Render a recipe again, here, and compare every frame.

    It needs no farm, and says whether every frame is the same, bit for bit.
    The recipe is a result's recipe.json, or the MP4 itself, which carries one.
    """
    from models.media.output import read_recipe
    from models.planning.request import RenderFault
    from models.provenance.recipe import RecipeError
    from models.render.rerender import rerender as again

    if out_dir.exists() and any(out_dir.iterdir()):
        raise click.BadParameter(f"{out_dir} is not empty: name another", param_hint="--to")
    folder = folder_of(session, models_dir)
    try:
        recipe = read_recipe(source) if source.suffix.lower() == ".mp4" else json.loads(source.read_text())
        result = again(recipe, inputs or source.parent, folder, out_dir, device=device)
    except RecipeError as error:
        raise click.ClickException(str(error)) from None
    except RenderFault as fault:
        raise click.ClickException(fault.message) from None
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{source} is no recipe: {error}") from None
    if session.out.as_json:
        session.out.document(
            {"identical": True, "video": result.video, "frames_sha256": result.recipe["frames_sha256"]}
        )
    else:
        session.out.line(result.video)
        session.out.say(f"all {result.frames} frames are the same, bit for bit")
    return 0
