"""`wanfarm up`: the whole farm on this machine. farm.embedded runs it; this prints what it reports."""

import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from farm.cli.session import Session, runs_here

if TYPE_CHECKING:
    from farm.embedded.folder import ClientNotes
    from farm.embedded.stack import Stack, StackEvent


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), help="The gateway's port. Default: a free one, kept.")
@click.option("--host", help="The address to serve on. Default: 127.0.0.1, this machine only.")
@runs_here
def up(session: Session, port: int | None, host: str | None) -> int:
    """Start the whole farm here and keep it running.

    Redis, an S3 server, the gateway, the io worker, beat, and a worker per GPU (or one on the CPU with tiny models).
    What dies is started again. Ctrl-C lets the running render finish and ends everything; twice hands it back.
    """
    from farm.config import CONFIG_ENV
    from farm.embedded.plan import refuse_written_settings
    from farm.embedded.stack import Stack

    settings = session.settings()
    changes = {name: value for name, value in (("port", port), ("host", host)) if value is not None}
    if changes:
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update=changes)})
    voice = _Voice(session)
    stack = Stack(settings, voice.hear)
    voice.stack = stack
    stack.folder.make()
    refuse_written_settings(os.environ.get(CONFIG_ENV), stack.folder)
    logging.basicConfig(
        filename=stack.folder.logs / "up.log",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # its questions during a start are no news, and connections that are refused then no trouble
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return stack.run()


class _Voice:
    """Prints what the stack reports: as it happens, or as one JSON document once the farm is up."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.stack: Stack | None = None

    def hear(self, report: "StackEvent") -> None:
        out = self.session.out
        if report.what == "up":
            self._up()
        elif report.part is None:
            words = {
                "draining": "finishing what runs; once more (Ctrl-C) hands it back",
                "hurrying": "handing back what runs",
                "down": "the farm is down; `wanfarm up` resumes every job",
            }
            out.say(words.get(report.what, report.what))
        elif report.what == "slow":
            out.say(f"{report.part:8} {report.detail}")
        elif report.what in ("ready", "died"):
            out.say(f"{report.part:8} {report.what}  {report.detail}".rstrip())

    def _up(self) -> None:
        assert self.stack is not None
        notes, folder = self.stack.client, self.stack.folder
        if self.session.out.as_json:
            self.session.out.document(
                {"url": notes.url, "tenant": notes.tenant, "client_file": str(folder.client_file)}
            )
            sys.stdout.flush()
            return
        line = self.session.out.line
        line()
        line(f"Wanfarm is up at {notes.url}")
        if self.stack.new_keys:
            line(f"  tenant    {notes.tenant}")
            line(f"  API key   {notes.key}")
            line(f"  operator  {notes.admin_key}")
        line(f"  renders   {_offered(notes)}")
        line(f"  keys are kept in {folder.client_file}, where `wanfarm` finds them")
        line(f"  logs are in {folder.logs}")
        line()
        line('Try:  wanfarm submit --prompt "a red fox runs through snow" --watch')
        line("Ctrl-C ends it; jobs are kept.")
        sys.stdout.flush()


def _offered(notes: "ClientNotes") -> str:
    """The models that the farm renders now, or what to do about it."""
    from farm.client import Client
    from farm.jobs.errors import FarmError

    try:
        with Client(notes.url, notes.key or "", timeout_s=2.0, patience_s=2.0) as client:
            found = [model.id for model in client.models() if model.available]
    except FarmError as error:
        return f"unknown ({error})"
    return ", ".join(found) or "nothing yet: no weights are here (wanfarm models pull)"
