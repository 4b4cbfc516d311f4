"""`wanfarm submit`: one shot from options, or many from a file of JSON lines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli.loras import parse_wear
from farm.cli.session import Session, asks_the_farm

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_views import JobView

#: options that are fields of the create request under the same name
_FIELDS: list[tuple[str, Any, str]] = [
    ("--model", str, "Model id (`wanfarm models list`). Default: the farm's."),
    ("--task", str, "Of several that the inputs make: animate or replace."),
    ("--negative-prompt", str, "What should not be seen."),
    ("--width", int, "Pixels."),
    ("--height", int, "Pixels."),
    ("--resolution", str, "480p, 580p or 720p, instead of width and height."),
    ("--aspect-ratio", str, "With --resolution: 16:9"),
    ("--frames", int, "4n+1"),
    ("--duration-s", float, "Seconds, instead of --frames."),
    ("--fps", int, "Frames per second."),
    ("--steps", int, "Denoising steps."),
    ("--guidance", float, "How closely the prompt is followed."),
    ("--guidance-2", float, "The same, for the second expert."),
    ("--shift", float, "Flow shift of the scheduler."),
    ("--seed", int, "Default: a random one, which the recipe names."),
    ("--priority", int, "0 to 9 (first) among your own jobs."),
    ("--name", str, "Your name for the shot; downloads are called that."),
    ("--label", str, "Your own word to list jobs by."),
    ("--webhook-url", str, "Told when the job is over."),
]
#: what is submitted from, a file or an address each
_INPUTS = {
    "image": "The first frame, the character, or a reference.",
    "last_image": "The last frame, for models that take one.",
    "image_2": "Another reference (VACE).",
    "image_3": "Another reference (VACE).",
    "video": "The clip that is followed (Animate) or redrawn (VACE).",
    "mask": "A picture, white where the clip is rendered anew (VACE).",
    "mask_video": "The same for each frame; to replace somebody, that person.",
    "pose_video": "Animate, preprocessed elsewhere: the skeletons.",
    "face_video": "With --pose-video: the faces.",
    "background_video": "With --pose-video, to replace: the clip without the person.",
}


def _shot_options(command: Any) -> Any:
    for name, kind, text in reversed(_FIELDS):
        command = click.option(name, type=kind, help=text)(command)
    for role, text in reversed(_INPUTS.items()):
        names = ["--" + role.replace("_", "-"), *(["-i"] if role == "image" else [])]
        command = click.option(*names, metavar="FILE|URL", help=text)(command)
    return command


@click.command()
@click.option("--prompt", "-p", help="What to render.")
@click.option(
    "--lora", "loras", multiple=True, metavar="NAME[:SCALE[:EXPERT]]", help="One of your LoRAs (`wanfarm loras`)."
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="What only some models read: lossy=first_block, several=largest, retarget=true, ...",
)
@click.option(
    "--from",
    "source",
    type=click.File("r", encoding="utf-8"),
    help="JSON lines, one shot each, with the names of these options (- is standard input). Options are defaults.",
)
@_shot_options
@click.option("--idempotency-key", help="The same key and shot again give the same job.")
@click.option("--watch", "watching", is_flag=True, help="Show progress until it is over.")
@click.option("--download", type=click.Path(path_type=Path, file_okay=False), help="Wait, and fetch the result there.")
@asks_the_farm
def submit(
    session: Session,
    source: Any,
    idempotency_key: str | None,
    watching: bool,
    download: Path | None,
    **values: Any,
) -> int:
    """Submit a shot, or a file of shots.

    \b
    wanfarm submit -p "a red fox runs through snow" --watch
    wanfarm submit -p "the fox looks up" --image fox.jpg --frames 49 --download out
    wanfarm submit -p "she dances" --image her.png --video dance.mp4 --model wan2.2-animate-14b
    wanfarm submit -p "an inked fox" --lora ink:0.8 --lora fox:0.6:high
    wanfarm submit -p "she dances" -i her.png --video club.mp4 --model wan2.2-animate-14b --option several=largest
    wanfarm submit --from shots.jsonl --label scene-12
    """
    given = {name: value for name, value in values.items() if value is not None and value != ()}
    if "loras" in given:
        given["loras"] = [parse_wear(text) for text in given["loras"]]
    if "options" in given:
        given["options"] = dict(_option(text) for text in given["options"])
    if source is None:
        if "prompt" not in given:
            raise click.UsageError("give --prompt, or a file of shots with --from")
        shots: list[tuple[dict[str, Any], str | None]] = [(given, None)]
    else:
        shots = [({**given, **shot}, where) for shot, where in _read(source)]
    if idempotency_key is not None and len(shots) != 1:
        raise click.UsageError(
            "--idempotency-key names one shot; a file of shots has keys of its own (idempotency_key)"
        )
    with session.client() as client:
        jobs = [_create(client, shot, where, idempotency_key) for shot, where in shots]
        if watching or download is not None:
            from farm.cli.watch import watch_and_tell

            return watch_and_tell(session, client, jobs, download=download)
    if session.out.as_json:
        session.out.document(jobs[0] if source is None else jobs)
        return 0
    for job in jobs:
        session.out.line(job.id)
    session.out.say(f"watch: wanfarm watch {jobs[0].id}" if len(jobs) == 1 else "watch: wanfarm watch")
    return 0


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON is what it says there, any other a word."""
    name, given, value = text.partition("=")
    if not name or not given:
        raise click.BadParameter(f"{text!r}: write NAME=VALUE", param_hint="--option")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _read(source: Any) -> list[tuple[dict[str, Any], str]]:
    """(shot, where it stands) for every line that is not empty. All lines are read before any shot is submitted."""
    known = {"prompt", "loras", "options", "idempotency_key", "metadata", "deadline", "max_attempts", *_INPUTS}
    known |= {name.removeprefix("--").replace("-", "_") for name, _, _ in _FIELDS}
    shots = []
    for number, line in enumerate(source, 1):
        where = f"{getattr(source, 'name', 'shots')}:{number}"
        if not line.strip():
            continue
        try:
            shot = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"{where}: not JSON: {error}") from None
        if not isinstance(shot, dict):
            raise click.UsageError(f"{where}: a shot is a JSON object")
        if "batch" in shot:
            raise click.UsageError(f"{where}: unknown batch; your own word to list jobs by goes into label")
        if unknown := sorted(set(shot) - known):
            raise click.UsageError(f"{where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        if not shot.get("prompt"):
            raise click.UsageError(f"{where}: no prompt")
        if isinstance(shot.get("loras"), list):
            # as the option says it, or as the farm's API does
            shot["loras"] = [parse_wear(one) if isinstance(one, str) else one for one in shot["loras"]]
        shots.append((shot, where))
    if not shots:
        raise click.UsageError("the file has no shots")
    return shots


def _create(client: "Client", shot: Mapping[str, Any], where: str | None, key: str | None) -> "JobView":
    from farm.jobs.errors import RequestError

    fields = dict(shot)
    for role in _INPUTS:
        if isinstance(fields.get(role), str):
            fields[role] = _input(fields[role], role)
    try:
        return client.jobs.create(**{"idempotency_key": key, **fields})
    except RequestError as error:
        if where is not None:
            error.detail = f"{where}: {error.detail}"
        raise


def _input(text: str, role: str) -> str | Path:
    if text.partition("://")[0].lower() in ("http", "https") or text[:5].lower() == "data:":
        return text
    path = Path(text).expanduser()
    if not path.is_file():
        raise click.BadParameter(f"there is no file {text!r}", param_hint=f"--{role.replace('_', '-')}")
    return path
