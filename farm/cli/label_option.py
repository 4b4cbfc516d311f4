"""`--label`, and `--batch`, which was its name before batches became things of their own."""

from collections.abc import Callable
from typing import Any

import click

_KEPT = "wanfarm.label"
_NOTICE = "--batch is now --label; for batches there is `wanfarm batches`"


def label_option(text: str) -> Callable[[Any], Any]:
    """Adds --label to a command, with `text` as its help. The old name is taken, too, with a notice."""

    def add(command: Any) -> Any:
        command = click.option("--batch", hidden=True, is_eager=True, expose_value=False, callback=_old)(command)
        return click.option("--label", callback=_label, help=text)(command)

    return add


def _old(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta[_KEPT] = value
        click.echo(_NOTICE, err=True)


def _label(context: click.Context, _: click.Parameter, value: str | None) -> str | None:
    old: str | None = context.meta.get(_KEPT)
    return old if value is None else value
