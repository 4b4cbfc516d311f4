"""The part of `wanfarm models` that tries a model here, without a farm: what Animate sees, and what `mag` needs."""

from pathlib import Path

import click

from farm.cli.models_dir import MODELS_DIR, folder_of, known
from farm.cli.session import Session, runs_here


@click.command("preprocess")
@click.argument("clip", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--show",
    "out_dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where the contact sheets are written.",
)
@click.option(
    "--task",
    type=click.Choice(["animate", "replace"]),
    default="animate",
    show_default=True,
    help="What the clip would be for.",
)
@click.option(
    "--picture",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The character: the skeleton is drawn with its proportions.",
)
@click.option(
    "--several",
    type=click.Choice(["refuse", "largest"]),
    default="refuse",
    show_default=True,
    help="Where several people are in the clip: refuse it, or follow the largest.",
)
@click.option("--tiny", is_flag=True, help="With networks of random weights, which see nothing: to try the command.")
@MODELS_DIR
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
    """Show what Wan-Animate would get of a clip.

    It writes contact sheets of poses, skeletons, faces and masks.
    Nothing is rendered. The networks are read from `preprocess` in the models' folder, where `models pull` puts them.
    """
    from models import catalog
    from models.acceleration import runtime
    from models.planning.request import RenderFault
    from models.preprocess import guides, view
    from models.preprocess.persons import SURE

    model = catalog.get(f"{catalog.ANIMATE_14B.id}-tiny" if tiny else catalog.ANIMATE_14B.id)
    folder = folder_of(session, models_dir)
    eyes_folder = guides.folder_of(folder, model)
    if eyes_folder is None:
        missing = f"{folder / 'preprocess'} must hold {' and '.join(guides.PARTS[:2])}"
        pull = "wanfarm models pull preprocess/person, and so on for each, or all with the model: wanfarm models pull"
        raise click.ClickException(f"{missing}: {pull} {model.id}; or see --tiny")
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


@click.command("calibrate")
@click.argument("model_id", metavar="MODEL")
@click.option("--size", help="WIDTHxHEIGHTxFRAMES. Default: the model's own.")
@click.option(
    "--prompt",
    default="a person walks through a street in the rain, the camera follows",
    show_default=True,
    help="What is rendered.",
)
@MODELS_DIR
@runs_here
def calibrate(session: Session, model_id: str, size: str | None, prompt: str, models_dir: Path | None) -> None:
    """Measure what the approximation `mag` needs for a model.

    It renders once with the model's weights. Jobs may then ask for `--option lossy=mag`.
    """
    from models import catalog
    from models.planning.request import RenderFault
    from models.render import warmup
    from models.render.renderer import Renderer

    defaults = catalog.get(known(model_id)).defaults
    shape = f"{model_id} {size or f'{defaults.width}x{defaults.height}x{defaults.frames}'}"
    session.out.say(f"rendering {shape} in {defaults.steps} steps")
    try:
        file = warmup.calibrate(Renderer(folder_of(session, models_dir)), shape, prompt)
    except (RenderFault, catalog.ShapeError) as error:
        raise click.ClickException(str(error)) from None
    if session.out.as_json:
        session.out.document({"model": model_id, "file": str(file)})
    else:
        session.out.line(str(file))
