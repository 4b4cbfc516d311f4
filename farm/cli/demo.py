"""`wanfarm demo`: everything once, from nothing to files in out/. farm.embedded.demo does it; this shows it."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn, Self

import click

from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

    from farm.cli.output import Terminal
    from farm.embedded.demo import DemoClip


@click.command()
@click.option(
    "--to",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    default="out",
    show_default=True,
    help="Folder for the results.",
)
@runs_here
def demo(session: Session, out: Path) -> int:
    """Start a farm, render six shots, and end it again.

    The farm is in a temporary folder, the results are in --to, and nothing is left running. Its tiny models were
    trained on drawn clips: they know a few dozen words and ignore all others (docs/tiny-models.md).
    """
    from farm.cli.watch import follow_to_the_end
    from farm.embedded.demo import demo_farm, fetch, submit_shots

    # a `kill` or a closed terminal must end the farm too, and tidily
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    say = session.out.say
    with Starting(session.out) as starting, demo_farm(say, starting.hear) as client:
        starting.done(client.url)
        jobs = submit_shots(client)
        say(f"{len(jobs)} shots are submitted")
        ended = follow_to_the_end(session, client, jobs)
        made = fetch(client, ended, out)
        say("ending the farm")
    _tell(session, made, out)
    return 0 if all(one.files is not None for one in made) else 1


class Starting:
    """How the farm comes up: one line that fills on a terminal, a line per part anywhere else."""

    def __init__(self, out: "Terminal") -> None:
        self._phases: dict[str, str] = {}
        self._status: Status | None = None
        self._out = out
        if sys.stderr.isatty():
            self._status = out.console(sys.stderr).status("starting a farm")
            self._status.start()
        else:
            out.say("starting a farm")

    def hear(self, part: str, phase: str) -> None:
        """Show that a part of the farm has entered a phase."""
        self._phases[part] = phase
        if self._status is None:
            if phase in ("ready", "down"):
                self._out.say(f"  {part} {'is ready' if phase == 'ready' else 'died and is started again'}")
            return
        words = [f"[green]{name}[/]" if now == "ready" else f"[dim]{name}[/]" for name, now in self._phases.items()]
        self._status.update(f"starting a farm: {' '.join(words)}")

    def done(self, url: str) -> None:
        """Show that the farm answers at `url`."""
        self.__exit__()
        self._out.say(f"a farm is up at {url}: {', '.join(self._phases)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _tell(session: Session, made: "Sequence[DemoClip]", out: Path) -> None:
    if session.out.as_json:
        session.out.document([{**one.job.model_dump(mode="json"), "files": one.files} for one in made])
        return
    session.out.line()
    session.out.table(
        ["video", "model", "task", "size", ">frames", ">seconds", ">took", "sha256"],
        [
            [
                one.files.video if one.files else f"{one.job.name}: {one.job.error and one.job.error.message}",
                one.job.model,
                one.job.task,
                f"{one.job.width}x{one.job.height}",
                one.job.frames,
                "" if one.job.duration_s is None else f"{one.job.duration_s:.2f}",
                _took(one),
                one.job.result.sha256[:12] if one.job.result else "",
            ]
            for one in made
        ],
        empty="nothing was made",
    )
    session.out.line()
    session.out.line(f"Each video has its poster (.jpg) and its recipe (.json) beside it in {out}/.")
    session.out.line("The models are tiny: they know a few dozen words and ignore all others (docs/tiny-models.md);")
    session.out.line("image to video knows drawn pictures alone, as farm/embedded/samples/heart.png.")
    session.out.line("Next: `make up` keeps a farm running; `wanfarm models pull` fetches real weights.")


def _took(one: "DemoClip") -> str:
    job = one.job
    if job.started_at is None or job.finished_at is None:
        return ""
    return f"{(job.finished_at - job.started_at).total_seconds():.1f} s"
