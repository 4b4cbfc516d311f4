"""`wanfarm config`: what the settings are, whether they are right, and the environment for other programs."""

import shlex

import click

from farm.cli.session import KEY_ENV, URL_ENV, Session, asks_the_farm, runs_here


@click.group()
def config() -> None:
    """Settings: one TOML file (WANFARM_CONFIG) under environment variables (WANFARM_LEASE__SECONDS)."""


@config.command("show")
@click.option("--secrets", is_flag=True, help="Also the secret ones.")
@runs_here
def show_config(session: Session, secrets: bool) -> None:
    """Print every setting as it is now, as TOML. With a farm of `wanfarm up` here: what its parts were given."""
    from farm.embedded.settings_file import plain, render

    settings = session.farm_settings()
    if not secrets:
        settings = settings.model_copy(update={"s3": settings.s3.model_copy(update={"secret_key": "…"})})
    if session.out.as_json:
        session.out.document(plain(settings.model_dump()))
    else:
        session.out.line(render(settings).rstrip())


@config.command("check")
@runs_here
def check_config(session: Session) -> None:
    """Read the settings; say what is wrong with them, or nothing."""
    session.settings()
    if session.out.as_json:
        session.out.document({"ok": True})
    else:
        session.out.say("the configuration is right")


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
