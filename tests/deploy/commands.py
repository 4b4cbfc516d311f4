"""What manifests run, compared with what the command has."""

import click

from farm.cli.entry import wanfarm


def known(arguments: list[str]) -> bool:
    """Whether `wanfarm ARGUMENTS...` is one of its commands, with options that it has."""
    command: click.Command = wanfarm
    rest = list(arguments)
    while isinstance(command, click.Group) and rest:
        found = command.get_command(click.Context(command), rest[0])
        if found is None:
            return False
        command, rest = found, rest[1:]
    options = {name for one in command.params for name in one.opts}
    return not isinstance(command, click.Group) and all(word in options for word in rest if word.startswith("--"))
