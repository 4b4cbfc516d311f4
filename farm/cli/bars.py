"""Progress as a person sees it: a bar per job on a terminal, a line per change anywhere else."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from farm.cli.output import clean
from farm.jobs.states import HoldReason, Phase, State

if TYPE_CHECKING:
    from farm.cli.follow import Follow
    from farm.cli.output import Terminal
    from farm.wire.own_views import JobView

_WORDS = {
    State.WAITING: "fetching inputs",
    State.SUCCEEDED: "done",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}
_STYLES = {State.SUCCEEDED: "green", State.FAILED: "red", State.CANCELLED: "yellow", State.RUNNING: "cyan"}
#: of what its owner did not pause
PAUSED_BY_OPERATOR = "paused by an operator"
#: columns that a title, the words, the percentage and the time left want
_WORDS_WIDE = 70
#: which jobs are shown when not all fit the terminal
_ORDER = [State.RUNNING, State.WAITING, State.QUEUED, State.FAILED, State.CANCELLED, State.SUCCEEDED]


def title(job: "JobView", wide: int = 32) -> str:
    """A job's name or prompt on one line of at most `wide` characters."""
    text = " ".join(clean(job.name or job.prompt).split())
    return text if len(text) <= wide else text[: wide - 1] + "…"


def shot(job: "JobView") -> str:
    """Which shot of its manifest a job is: its id there, or its line, and the take; "" of no batch."""
    if job.batch is None:
        return ""
    name = job.shot.get("id") or f"line {job.shot.get('line', '?')}"
    return f"{name}, take {job.shot['take']}" if "take" in job.shot else str(name)


def words(job: "JobView") -> str:
    """Where a job is: place in the queue, phase and step, or how it ended."""
    if job.cancelling and not job.over:
        return "cancelling"
    if job.held_for and job.state in (State.WAITING, State.QUEUED):
        return _held_words(job)
    if job.state is State.QUEUED:
        return _queue_words(job)
    if job.state is State.RUNNING:
        steps = f", step {job.step}/{job.steps}" if job.phase is Phase.DENOISING and job.steps else ""
        return f"{job.phase or 'starting'}{steps}"
    if job.error is not None:
        # what nobody cancelled says that it expired
        word = job.error.code if job.state is State.CANCELLED else job.state
        return f"{word}: {clean(job.error.message)}"
    return _WORDS[job.state]


def _held_words(job: "JobView") -> str:
    said = [
        PAUSED_BY_OPERATOR if reason is HoldReason.PAUSED and job.operator_pauses else reason for reason in job.held_for
    ]
    return PAUSED_BY_OPERATOR if said == [PAUSED_BY_OPERATOR] else f"held: {', '.join(said)}"


def _queue_words(job: "JobView") -> str:
    again = f" (attempt {job.attempt + 1})" if job.attempt else ""
    if job.position is None:
        return f"queued{again}"
    ends = f", about {duration(job.eta_s)} to go" if job.eta_s else ""
    return f"{'next in the queue' if job.position == 0 else f'queued, {job.position} before it'}{again}{ends}"


def duration(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def took(job: "JobView") -> str:
    """How long a job's last attempt took; "" while that is not known."""
    if job.finished_at is None or job.started_at is None:
        return ""
    return f"took {duration((job.finished_at - job.started_at).total_seconds())}"


def summary(jobs: "Sequence[JobView]") -> str:
    """How many jobs there are, and how many in each state."""
    counts = Counter(job.state for job in jobs)
    parts = [f"{counts[state]} {state}" for state in State if counts[state]]
    return f"{len(jobs)} job{'s' if len(jobs) != 1 else ''}: {', '.join(parts)}"


@contextmanager
def shown(follow: "Follow", out: "Terminal") -> Iterator[Callable[[], None]]:
    """What to call when something may have changed. Progress is not the result: it goes to standard error."""
    if out.as_json or not sys.stderr.isatty():
        yield Lines(follow, quiet=out.as_json).show
        return
    from rich.live import Live

    console = out.console(sys.stderr)
    bars = Bars(follow)

    def now() -> Any:
        return bars.render(console.width, console.height)

    with Live(console=console, get_renderable=now, refresh_per_second=8) as live:
        yield lambda: None
        live.refresh()


class Lines:
    """One line for each change that is worth one: not every step, every place in the queue, every short phase."""

    def __init__(self, follow: "Follow", *, quiet: bool) -> None:
        self._follow, self._quiet = follow, quiet
        self._said: dict[str, str] = {}
        self._trouble: str | None = None

    def show(self) -> None:
        """Print a line for each job whose stage has changed."""
        if self._follow.trouble != self._trouble and not self._quiet:
            self._trouble = self._follow.trouble
            print(f"trying again: {self._trouble}" if self._trouble else "the farm answers again", file=sys.stderr)
        for job in self._follow.jobs:
            now = self._stage(job)
            if self._quiet or now is None or self._said.get(job.id) == now:
                continue
            self._said[job.id] = now
            text = words(job) if job.state is not State.RUNNING else now
            ending = f"  {took(job)}" if job.state is State.SUCCEEDED else ""
            print(f"{time.strftime('%H:%M:%S')}  {title(job):32}  {text}{ending}".rstrip(), file=sys.stderr, flush=True)

    def _stage(self, job: "JobView") -> str | None:
        if job.cancelling:
            return "cancelling"
        if job.state is not State.RUNNING:
            return f"{job.state} {job.attempt} {_held_words(job) if job.held_for else ''}"
        return str(job.phase) if job.phase in (Phase.LOADING, Phase.DENOISING, Phase.GENERATING) else None


class Bars:
    """Shows what a `Follow` knows: one bar for each job."""

    def __init__(self, follow: "Follow") -> None:
        self._follow = follow

    def render(self, width: int, height: int) -> Any:
        """What fits `width` columns and `height` lines of the terminal, as a rich renderable."""
        from rich.console import Group
        from rich.text import Text

        jobs = self._follow.jobs
        room = max(1, height - 3)
        shown_jobs: list[JobView] = list(jobs)
        if len(jobs) > room:
            # those that move are worth the space; within a state the order that was given stays
            shown_jobs = sorted(jobs, key=lambda job: _ORDER.index(job.state))[:room]
        lines: list[Any] = [self._table(shown_jobs, width)]
        if len(jobs) > 1:
            lines.append(Text(summary(jobs), style="dim"))
        if self._follow.trouble is not None:
            lines.append(Text(f"trying again: {self._follow.trouble}", style="yellow"))
        return Group(*lines)

    def _table(self, jobs: "Sequence[JobView]", width: int) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # on a narrow terminal the words stay and the picture shrinks
        bar = max(4, min(24, width - _WORDS_WIDE))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, min(32, width - bar - 50)))
        table.add_column(width=bar)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(24, width - bar - 60))
        table.add_column(no_wrap=True, justify="right", min_width=4)
        table.add_column(no_wrap=True, min_width=9)
        for job in jobs:
            style = _STYLES.get(job.state, "dim")
            started = job.state in (State.RUNNING, State.SUCCEEDED)
            left_s = self._follow.left_s(job.id) if job.state is State.RUNNING else None
            table.add_row(
                Text(title(job)),
                ProgressBar(total=1.0, completed=job.progress, width=bar, complete_style=style, finished_style=style),
                Text(words(job), style=style),
                Text(f"{job.progress:.0%}" if started else ""),
                Text(f"{duration(left_s)} left" if left_s is not None else took(job) if job.over else "", style="dim"),
            )
        return table
