"""`wanfarm serve`: one part of a farm in the foreground, for containers and systemd (`wanfarm up` runs all of them)."""

import os
from collections.abc import Sequence
from typing import NoReturn

import click

from farm.cli.session import Session, runs_here


@click.group()
def serve() -> None:
    """Run one part of the farm here: gateway, io or beat. See also wanfarm worker and wanfarm exporter.

    Each reads the configuration (--config, WANFARM_CONFIG, WANFARM_* variables), logs to standard error and ends on
    SIGTERM.
    """


@serve.command("gateway")
@runs_here
def gateway(session: Session) -> NoReturn:
    """Run the gateway: the HTTP API, on gateway.host and gateway.port. Any number may run behind a load balancer."""
    from farm.embedded import role_commands

    _become(session, role_commands.gateway())


@serve.command("io")
@runs_here
def io_worker(session: Session) -> NoReturn:
    """Run an io worker: intake, webhooks, and the farm's duties. Several share the work."""
    from farm.embedded import role_commands

    _become(session, role_commands.io_worker(session.farm_settings().worker.io_threads))


@serve.command("beat")
@click.option("--alive", is_flag=True, help="Exit with 0 if the beat that runs here lives, else with 1.")
@runs_here
def beat(session: Session, alive: bool) -> int:
    """Run beat, the clock of the farm's duties. One is enough; io workers go on without it."""
    from farm.claiming.alive import silent_s
    from farm.embedded import role_commands

    folder = session.folder().beat
    if not alive:
        folder.mkdir(parents=True, exist_ok=True)
        _become(session, role_commands.beat(folder))
    return int(silent_s(folder) >= role_commands.BEATS_S)


def _become(session: Session, command: Sequence[str]) -> NoReturn:
    """This process becomes that one: signals reach it, and nothing stands in between."""
    session.farm_settings()
    session.hand_on()
    os.execv(command[0], list(command))  # noqa: S606 - becoming the command is the point
