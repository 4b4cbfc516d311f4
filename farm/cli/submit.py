"""`wanfarm submit`: one shot from options, or many from a file of JSON lines."""

import json
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from farm.cli import shots
from farm.cli.exit_codes import REFUSED
from farm.cli.first_worker import once_there_is_one
from farm.cli.label_option import label_option
from farm.cli.loras import parse_wear
from farm.cli.session import Session, asks_the_farm
from farm.cli.shots import ShotFaults, ShotLine, UnreadableShots

if TYPE_CHECKING:
    from farm.client import Client
    from farm.wire.own_views import JobView

#: options that are fields of the create request under the same name
_FIELDS: list[tuple[str, Any, str]] = [
    ("--model", str, "Model id (`wanfarm models list`). Default: the farm's."),
    ("--task", str, "animate or replace, where the inputs allow both."),
    ("--negative-prompt", str, "What should not be seen. It counts where the guidance is above 1."),
    ("--width", int, "Pixels. Default: the model's."),
    ("--height", int, "Pixels. Default: the model's."),
    ("--resolution", str, "480p, 580p or 720p, instead of --width and --height."),
    ("--aspect-ratio", str, "With --resolution, such as 16:9."),
    ("--frames", int, "Frames of the clip: 4n+1, such as 49 or 81. Default: the model's."),
    ("--duration-s", float, "Seconds of the clip, instead of --frames."),
    ("--fps", int, "Frames per second. Default: the model's."),
    ("--steps", int, "Denoising steps. Default: the model's."),
    ("--guidance", float, "How closely the prompt is followed. Default: the model's."),
    ("--guidance-2", float, "The same, for the second (low-noise) expert."),
    ("--shift", float, "Flow shift of the scheduler. Default: the model's."),
    ("--seed", int, "Default: a random one, which the recipe names."),
    ("--priority", int, "0 to 9, among your own jobs; 9 goes first. Default: 5."),
    (
        "--deadline",
        str,
        "Of jobs with one priority the earliest deadline goes first; an economy job that is not finished by then "
        "ends. Such as 2026-12-01T18:00:00+01:00.",
    ),
    (
        "--tier",
        click.Choice(["normal", "economy"]),
        "economy: runs where no normal job can, until its deadline. Default: normal.",
    ),
    (
        "--start-by",
        str,
        "A job that has not started by then ends, at no cost. Such as 2026-12-01T18:00:00+01:00.",
    ),
    (
        "--external",
        click.Choice(["never", "same", "family", "any"]),
        "What may be rendered by a provider when the farm is full: nothing, by the same weights, by what was made from "
        "them, by any model for the task. Default: as you agreed with the farm.",
    ),
    ("--name", str, "Your name for the shot; downloads are called that."),
    ("--webhook-url", str, "An address that is told when the job is over."),
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

#: fields of a shot in a file
_KNOWN = frozenset(
    {"prompt", "loras", "options", "idempotency_key", "label", "metadata", "max_attempts", *_INPUTS}
    | {name.removeprefix("--").replace("-", "_") for name, _, _ in _FIELDS}
)
#: shots that the farm is asked about at once
_AT_ONCE = 8


def _shot_options(command: Any) -> Any:
    command = label_option("Your own word to list jobs by.")(command)
    for name, kind, text in reversed(_FIELDS):
        command = click.option(name, type=kind, help=text)(command)
    for role, text in reversed(_INPUTS.items()):
        names = ["--" + role.replace("_", "-"), *(["-i"] if role == "image" else [])]
        command = click.option(*names, metavar="FILE|URL", help=text)(command)
    return command


@click.command()
@click.argument("manifest", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--takes", type=click.IntRange(1, 1000), help="Of a MANIFEST: jobs to make of each shot. Default: 1.")
@click.option("--hold-after", type=click.IntRange(1), help="Of a MANIFEST: render so many shots first; hold the rest.")
@click.option("--dry-run", is_flag=True, help="Of a MANIFEST: only say what it would cost and what is wrong.")
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
    type=click.File("rb"),
    help="JSON lines, one shot each, with the names of these options (- is standard input). Options are defaults. "
    "The file again within a day makes no shot twice.",
)
@click.option("--again", is_flag=True, help="With --from: make the shots anew that were made before.")
@_shot_options
@click.option("--idempotency-key", help="Within a day the same key and shot give the same job.")
@click.option("--watch", "watching", is_flag=True, help="Show progress until it is over.")
@click.option("--download", type=click.Path(path_type=Path, file_okay=False), help="Wait, and fetch the result there.")
@asks_the_farm
def submit(
    session: Session,
    *,
    manifest: Path | None,
    takes: int | None,
    hold_after: int | None,
    dry_run: bool,
    source: Any,
    again: bool,
    idempotency_key: str | None,
    watching: bool,
    download: Path | None,
    **values: Any,
) -> int:
    """Submit a shot, or a MANIFEST of many as one batch.

    A MANIFEST (.csv or .jsonl) is taken whole or not at all; options are then what its shots have in common.

    \b
    wanfarm submit shots.csv --model wan2.2-t2v-a14b --takes 2 --watch
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
    _check_forms(manifest, alone=(source, again, download), of_manifest=(takes, hold_after, dry_run))
    if manifest is not None:
        # as people know it
        asked = {"name": manifest.stem[:200], **given, "takes": takes, "hold_after": hold_after}
        return _submit_manifest(session, manifest, asked, idempotency_key, dry_run=dry_run, watching=watching)
    if source is None and "prompt" not in given:
        raise click.UsageError("give --prompt, or a file of shots with --from")
    if source is not None and idempotency_key is not None:
        raise click.UsageError(
            "--idempotency-key names one shot; a file of shots has keys of its own (idempotency_key)"
        )
    if source is not None:
        return _submit_file(session, source, given, again=again, watching=watching, download=download)
    for role in _INPUTS:
        if isinstance(given.get(role), str) and not shots.is_there(given[role]):
            raise click.BadParameter(f"there is no file {given[role]!r}", param_hint=f"--{role.replace('_', '-')}")
    with session.client() as client:
        job = once_there_is_one(session, lambda: client.jobs.create(**{"idempotency_key": idempotency_key, **given}))
        if watching or download is not None:
            from farm.cli.watch import watch_and_tell

            return watch_and_tell(session, client, [job], download=download)
    if session.out.as_json:
        session.out.document(job)
    session.out.line(job.id)
    session.out.say(f"watch: wanfarm watch {job.id}")
    return 0


def _check_forms(manifest: Path | None, *, alone: Sequence[Any], of_manifest: Sequence[Any]) -> None:
    """Options go with the form of submission that they are of."""
    if manifest is not None and any(alone):
        raise click.UsageError("a manifest is submitted by itself: no --from, --again, --download")
    if manifest is None and any(of_manifest):
        raise click.UsageError("--takes, --hold-after and --dry-run are of a manifest: wanfarm submit shots.csv")


def _submit_manifest(
    session: Session, path: Path, asked: dict[str, Any], key: str | None, *, dry_run: bool, watching: bool
) -> int:
    """One batch; what is wrong with any line is told, and then nothing was submitted."""
    from farm.cli.batch_watch import watch
    from farm.cli.manifests import ready

    for name in ("prompt", *_INPUTS):
        if name in asked:
            raise click.UsageError(f"{name.replace('_', '-')} is a column of the manifest")
    with session.client() as client, ready(path, lambda file: client.uploads.put(file).id) as (manifest, media):
        if dry_run:
            quote = once_there_is_one(session, lambda: client.batches.estimate(manifest, media=media, **asked))
            session.out.document(quote) if session.out.as_json else session.out.facts(
                {
                    "shots": quote.shots,
                    "jobs": quote.jobs,
                    "credits": "no price" if quote.credits is None else f"{quote.credits:g}",
                    "GPU-seconds": f"{quote.gpu_s:g}",
                    "predicted end": quote.finish_at,
                }
            )
            return 0
        batch = once_there_is_one(
            session, lambda: client.batches.create(manifest, media=media, idempotency_key=key, **asked)
        )
        if watching:
            return watch(session, client, batch.id)
    if session.out.as_json:
        session.out.document(batch)
    session.out.line(batch.id)
    session.out.say(f"{batch.jobs} jobs; watch: wanfarm batches watch {batch.id}")
    return 0


def _submit_file(
    session: Session, source: Any, given: dict[str, Any], *, again: bool, watching: bool, download: Path | None
) -> int:
    """Read and check all of it, then submit; tell of every shot what became of it."""
    name = getattr(source, "name", "shots")
    found, faults = shots.read(source.read(), name if isinstance(name, str) else "shots", given, _KNOWN)
    if faults:
        raise UnreadableShots([*faults, "nothing was submitted"])
    if again:
        found = [replace(shot, key=f"{shot.key[:200]}-{uuid.uuid4().hex[:12]}") for shot in found]
    with session.client() as client:
        before = once_there_is_one(session, lambda: _checked(client, found))
        made, faults = _create(session, client, found, before, quiet=watching or download is not None)
        if not made:
            raise ShotFaults(faults)
        code = REFUSED if faults else 0
        for fault in faults:
            session.out.say(f"wanfarm: {fault}")
        if faults:
            session.out.say(f"{len(made)} of {len(found)} shots are there; mend the others and submit the file again")
        if watching or download is not None:
            from farm.cli.watch import watch_and_tell

            return watch_and_tell(session, client, made, download=download) or code
    if session.out.as_json:
        session.out.document(made)
    if before:
        session.out.say(f"{len(before)} of these were made before; --again makes them anew")
    session.out.say("watch: wanfarm watch")
    return code


def _checked(client: "Client", found: "Sequence[ShotLine]") -> "dict[str, JobView]":
    """Key -> job of the shots that were made before. ShotFaults when the farm would refuse any of the others."""
    from farm.jobs.errors import RequestError, Unauthorized

    def look(shot: ShotLine) -> "tuple[ShotLine, JobView | None, list[str]]":
        try:
            if (job := client.jobs.made_with(shot.key)) is not None:
                return shot, job, []
            client.jobs.estimate(**shot.fields)
        except Unauthorized:
            raise
        except RequestError as error:
            return shot, None, [shot.fault(error.field, error.detail)]
        return shot, None, []

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        looked = list(pool.map(look, found))
    if faults := [fault for _, _, wrong in looked for fault in wrong]:
        raise ShotFaults([*faults, "nothing was submitted"])
    return {shot.key: job for shot, job, _ in looked if job is not None}


def _create(
    session: Session, client: "Client", found: "Sequence[ShotLine]", before: "Mapping[str, JobView]", *, quiet: bool
) -> "tuple[list[JobView], list[str]]":
    """(jobs in the order of the file, faults of what the farm found in the inputs). An id is printed as soon as its job
    is made."""
    from farm.jobs.errors import FarmError, RequestError

    made: list[JobView] = []
    faults: list[str] = []
    for shot in found:
        try:
            job = before.get(shot.key) or client.jobs.create(idempotency_key=shot.key, **shot.fields)
        except RequestError as error:
            faults.append(shot.fault(error.field, error.detail))
            continue
        except FarmError:
            session.out.say(f"{len(made)} of {len(found)} shots are there; the same command again makes none twice")
            raise
        made.append(job)
        if not quiet:
            session.out.line(job.id)
    return made, faults


def _option(text: str) -> tuple[str, Any]:
    """NAME=VALUE; a value that is JSON is what it says there, any other a word."""
    name, given, value = text.partition("=")
    if not name or not given:
        raise click.BadParameter(f"{text!r}: write NAME=VALUE", param_hint="--option")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
