"""`wanfarm config`: what the settings are, whether they are right, and the environment for other programs."""

import re
import shlex
from typing import Any

import click

from farm.cli.session import KEY_ENV, URL_ENV, Session, asks_the_farm, runs_here

_SECRETS = frozenset({"secret_key", "key"})


@click.group()
def config() -> None:
    """Show and check the settings. They are in one TOML file (WANFARM_CONFIG); environment variables such as
    WANFARM_LEASE__SECONDS go before it."""


@config.command("show")
@click.option("--secrets", is_flag=True, help="Also the secret ones.")
@runs_here
def show_config(session: Session, secrets: bool) -> None:
    """Print every setting as it is now, as TOML. Where a farm of `wanfarm up` runs here: as its parts got them."""
    import tomli_w

    from farm.embedded.settings_file import plain

    shown = plain(session.farm_settings().model_dump())
    if not secrets:
        shown = _masked(shown)
    if session.out.as_json:
        session.out.document(shown)
    else:
        session.out.line(tomli_w.dumps(shown).rstrip())


@config.command("check")
@runs_here
def check_config(session: Session) -> None:
    """Read the settings; say what is wrong with them, or nothing."""
    session.settings()
    if session.out.as_json:
        session.out.document({"ok": True})
    else:
        session.out.say("the configuration is right")


@config.command("example")
def example_config() -> None:
    """Print an example file with every setting. Each has a sentence and its default, commented out."""
    from farm.cli.example import example

    click.echo(example(), nl=False)


@config.command("env")
@asks_the_farm
def client_environment(session: Session) -> None:
    """Print address and key for a shell: eval "$(wanfarm config env)" """
    with session.client() as client:
        values = {URL_ENV: client.url, KEY_ENV: client.key}
    if session.out.as_json:
        session.out.document(values)
        return
    for name, value in values.items():
        session.out.line(f"export {name}={shlex.quote(value)}")


def _masked(value: Any, name: str = "") -> Any:
    """Without what opens something: keys of that name, and passwords inside addresses."""
    if isinstance(value, dict):
        return {key: _masked(one, key) for key, one in value.items()}
    if name in _SECRETS:
        return "..."
    return re.sub(r"(://[^:/@]*:)[^@/]+@", r"\1...@", value) if isinstance(value, str) else value
