"""The way into the command: the list of commands, loaded one by one, and the one place where errors become words."""

import importlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from farm.cli.exit_codes import DEFECT, FAILED, INTERRUPTED, REFUSED, UNREACHABLE, USAGE
from farm.cli.output import clean

#: command -> where it is. The order is that of the help
COMMANDS = {
    "up": "farm.cli.up:up",
    "demo": "farm.cli.demo:demo",
    "submit": "farm.cli.submit:submit",
    "batches": "farm.cli.batches:batches",
    "watch": "farm.cli.watch:watch",
    "jobs": "farm.cli.jobs:jobs",
    "show": "farm.cli.jobs:show",
    "explain": "farm.cli.jobs:explain",
    "cancel": "farm.cli.jobs:cancel",
    "download": "farm.cli.jobs:download",
    "rerender": "farm.cli.rerender:rerender",
    "models": "farm.cli.models:models",
    "loras": "farm.cli.loras:loras",
    "workers": "farm.cli.workers:workers",
    "admin": "farm.cli.admin:admin",
    "serve": "farm.cli.serve:serve",
    "worker": "farm.cli.worker:worker",
    "exporter": "farm.cli.exporter:exporter",
    "burst": "farm.cli.burst:burst",
    "tenants": "farm.cli.tenants:tenants",
    "keys": "farm.cli.keys:keys",
    "credits": "farm.cli.credits:credits_",
    "spend": "farm.cli.spend:spend",
    "purchases": "farm.cli.spend:purchases",
    "webhooks": "farm.cli.webhooks:webhooks",
    "providers": "farm.cli.providers:providers",
    "doctor": "farm.cli.doctor:doctor",
    "config": "farm.cli.config:config",
    "completion": "farm.cli.completion:completion",
}

#: a key of the farm (farm.tenants.api_keys), as far as it goes
_KEY = re.compile(r"\b(?:wf_|ak_)[A-Za-z0-9_-]{12,}")
#: set, a defect shows its trace
DEBUG_ENV = "WANFARM_DEBUG"


class ReaderLeft(Exception):
    """Whoever reads our output has seen enough (`| head`)."""


class LazyGroup(click.Group):
    """Imports a command's module when somebody asks for that command."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click does; ReaderLeft when nobody reads the answer any more."""
        try:
            answer = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # click would make an exit code of it
            raise ReaderLeft from None
        return answer

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, without importing them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None for an unknown name."""
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="wanfarm", prog_name="wanfarm")
@click.option(
    "--state-dir", type=click.Path(path_type=Path, file_okay=False), help="The farm's folder, for any command."
)
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A TOML file of settings.")
@click.pass_context
def wanfarm(ctx: click.Context, state_dir: Path | None, config: Path | None) -> None:
    """One queue in front of a studio's GPUs: render video with Wan 2.2.

    `wanfarm up` starts a farm here; `wanfarm submit --prompt "..."` gives it work; `wanfarm demo` shows all of it.
    """
    # for the command's Session (farm.cli.session), where its own options come first
    ctx.obj = {"state_dir": state_dir, "config": config}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = wanfarm.main(given, prog_name="wanfarm", standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - a person reads this, not a trace
        sys.exit(_explain(error, as_json="--json" in given))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception, *, as_json: bool) -> int:
    """Say on stderr what went wrong and what to do; returns the exit code."""
    if isinstance(error, click.exceptions.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, ReaderLeft | BrokenPipeError):
        # keep Python from complaining about it once more at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, click.UsageError) and not as_json:
        error.show()
        return error.exit_code
    code, words = _verdict(error)
    if code == DEFECT and os.environ.get(DEBUG_ENV):
        raise error
    words = {name: _without_key(value) if isinstance(value, str) else value for name, value in words.items()}
    if as_json:
        print(json.dumps({"error": {"exit_code": code, **words}}), file=sys.stderr)
    else:
        field = f"{words['field']}: " if words.get("field") else ""
        for line in f"{field}{words['message']}".split("\n"):
            print(f"wanfarm: {clean(line)}", file=sys.stderr)
    return code


def _without_key(text: str) -> str:
    """No error tells a key, whoever wrote its words."""
    from farm.cli.session import KEY_ENV

    given = os.environ.get(KEY_ENV, "").strip()
    return _KEY.sub("<key>", text.replace(given, "<key>") if given else text)


def _verdict(error: Exception) -> tuple[int, dict[str, Any]]:
    from farm.cli.session import KEY_ENV
    from farm.jobs.errors import FarmError, Forbidden, RequestError, Unavailable

    verdict: tuple[int, dict[str, Any]]
    match error:
        case click.ClickException():
            verdict = error.exit_code, {"message": error.format_message()}
        case RequestError():
            # `config env` puts a tenant's key there, and it goes before the operator's in the state folder
            lent = isinstance(error, Forbidden) and os.environ.get(KEY_ENV)
            hint = f"; the key is {KEY_ENV}'s: unset it, or give --key" if lent else ""
            verdict = REFUSED, {"message": error.detail + hint, "field": error.field, "kind": error.slug}
        case Unavailable():
            verdict = UNREACHABLE, {"message": str(error), "kind": "unavailable"}
        case FarmError():
            verdict = FAILED, {"message": str(error)}
        case _ if _from_settings(error):
            verdict = USAGE, {"message": f"the configuration is wrong: {_settings_words(error)}"}
        case OSError():
            verdict = FAILED, {"message": f"{error.filename}: {error.strerror}" if error.filename else str(error)}
        case _:
            words = f"defect: {type(error).__name__}: {error} (set {DEBUG_ENV}=1 for the trace)"
            verdict = DEFECT, {"message": words}
    return verdict


def _from_settings(error: Exception) -> bool:
    """By name: importing pydantic to ask would cost more than most commands."""
    return type(error).__name__ in ("TOMLDecodeError", "SettingsError", "ValidationError")


def _settings_words(error: Exception) -> str:
    """Every wrong setting by its dotted name."""
    from pydantic import ValidationError

    from farm.jobs.validation_words import sentence

    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'settings'}: {sentence(one)}"
        for one in error.errors(include_url=False, include_input=False)
    )
