"""`wanfarm doctor`: whether this installation has what a farm relies on."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from farm.cli.session import Session, runs_here

_PARTS = ("redis", "s3", "machine", "gpu", "weights", "address")


@click.command()
@click.argument("parts", nargs=-1, metavar="[PART]...", type=click.Choice(_PARTS))
@runs_here
def doctor(session: Session, parts: tuple[str, ...]) -> int:
    """Try what the farm relies on, and say what to mend.

    Parts: redis, s3, machine (disk, limits, clock), gpu, weights, address (for clients). Default: all.
    It writes a few objects below doctor/ in the bucket and removes them. Exit code: 1 when something is an error.
    """
    from farm.doctor.doctor import examine
    from farm.doctor.finding import Level

    found = []
    with _quiet("farm", "urllib3"):
        for one in examine(session.farm_settings(), parts):
            found.append(one)
            session.out.line(f"{one.level:8} {one.check:24} {one.text}")
            if one.todo is not None:
                session.out.line(f"{'':33} -> {one.todo}")
    counts = {level: sum(one.level is level for one in found) for level in Level}
    if session.out.as_json:
        session.out.document({"ok": not counts[Level.ERROR], "counts": counts, "findings": found})
    else:
        session.out.say(", ".join(f"{count} {level}" for level, count in counts.items()))
    return 1 if counts[Level.ERROR] else 0


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without the log lines of these loggers: the findings say it in better words."""
    import logging

    loggers = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
