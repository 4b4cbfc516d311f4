"""What every command starts from: which farm, with which key, and how to speak. One per invocation."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farm.cli.output import Terminal

if TYPE_CHECKING:
    from farm.client import Client
    from farm.config import Settings
    from farm.embedded.folder import ClientNotes, StateFolder

_R = TypeVar("_R")

#: report quickly that no farm answers; `wanfarm up` keeps the gateway's address while it runs
PATIENCE_S = 5.0
URL_ENV, KEY_ENV = "WANFARM_URL", "WANFARM_API_KEY"


@dataclass
class Session:
    """`url`, `key`: as given, else from the state folder's client.toml. `out` knows about --json."""

    out: Terminal
    state_dir: Path | None = None
    config: Path | None = None
    url: str | None = None
    key: str | None = None

    def settings(self) -> "Settings":
        """Environment over the TOML file over defaults; --state-dir over all of them."""
        from farm.config import CONFIG_ENV, Settings

        if self.config is not None:
            os.environ[CONFIG_ENV] = str(self.config)
        return Settings() if self.state_dir is None else Settings(state_dir=self.state_dir)

    def folder(self) -> "StateFolder":
        """The state folder that --state-dir or the settings name."""
        from farm.embedded.folder import StateFolder

        return StateFolder(self.state_dir or self.settings().state_dir)

    def farm_settings(self) -> "Settings":
        """For commands on the farm's own machine: what `wanfarm up` decided here. Where a file is named, what that one
        says, with the addresses that it left to `up`."""
        from farm.config import CONFIG_ENV

        folder = self.folder()
        if not folder.settings_file.exists():
            return self.settings()
        if self.config is None and CONFIG_ENV not in os.environ:
            self.config = folder.settings_file
        return _with_addresses(self.settings(), folder)

    def hand_on(self) -> None:
        """Processes that this one becomes or starts read their settings themselves: let them find the same ones."""
        if self.state_dir is not None:
            os.environ["WANFARM_STATE_DIR"] = str(self.state_dir.absolute())

    def client(self, *, admin: bool = False) -> "Client":
        """With the key that was given, else the tenant's (or the operator's) from client.toml."""
        from farm.client import Client

        url, key, notes = self.url, self.key, None
        if url is None or key is None:
            notes = self.folder().client()
        if url is None:
            url = _required(notes).url
        if key is None and notes is not None:
            # a saved key must not be sent to another address
            ours = url.rstrip("/") == notes.url.rstrip("/")
            key = (notes.admin_key if admin else notes.key) if ours else None
        if key is None:
            raise click.UsageError(f"no API key for {url}: give --key or {KEY_ENV}")
        return Client(url, key, patience_s=PATIENCE_S)


def _with_addresses(settings: "Settings", folder: "StateFolder") -> "Settings":
    """The settings, with the Redis and the S3 server that `wanfarm up` started for them."""
    import tomllib

    decided = tomllib.loads(folder.settings_file.read_text())
    names = {"redis": ("ledger_url", "broker_url"), "s3": ("endpoint", "access_key", "secret_key", "public_endpoint")}
    updates = {}
    for section, taken in names.items():
        given = getattr(settings, section)
        if taken[0] not in given.model_fields_set:
            updates[section] = given.model_copy(
                update={name: value for name, value in decided[section].items() if name in taken}
            )
    return settings.model_copy(update=updates)


def _required(notes: "ClientNotes | None") -> "ClientNotes":
    from farm.jobs.errors import Unavailable

    if notes is None:
        raise Unavailable(
            f"no farm here: run `wanfarm up` in this folder, or give --url and --key ({URL_ENV}, {KEY_ENV})"
        )
    return notes


def _stated(function: Callable[..., _R], *, address: bool, here: bool = False) -> Callable[..., _R]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> _R:
        above = click.get_current_context().obj or {}
        names = ("state_dir", "config", "url", "key")
        given: dict[str, Any] = {name: kwargs.pop(name, None) or above.get(name) for name in names}
        session = Session(out=Terminal(as_json=bool(kwargs.pop("as_json", False))), **given)
        return function(session, *args, **kwargs)

    options = [
        click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="The farm's folder. Default: .wanfarm, or state_dir of the configuration.",
        ),
    ]
    if address:
        options += [
            click.option("--url", envvar=URL_ENV, show_envvar=True, help="The farm's address."),
            click.option("--key", envvar=KEY_ENV, show_envvar=True, help="An API key of the farm."),
        ]
    if here or not address:
        options.append(
            click.option(
                "--config",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="A TOML file of settings.",
            )
        )
    decorated: Callable[..., _R] = run
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def asks_the_farm(function: Callable[..., _R]) -> Callable[..., _R]:
    """For commands that go over HTTP: --url, --key, --state-dir, --json. The function gets a Session first."""
    return _stated(function, address=True)


def here_or_asked(function: Callable[..., _R]) -> Callable[..., _R]:
    """For commands that do the one or the other: the options of both. The function gets a Session first."""
    return _stated(function, address=True, here=True)


def runs_here(function: Callable[..., _R]) -> Callable[..., _R]:
    """For commands on the farm's own machine: --config, --state-dir, --json. The function gets a Session first."""
    return _stated(function, address=False)
