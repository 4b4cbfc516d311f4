"""`wanfarm completion`: the script that makes a shell complete `wanfarm`."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  echo 'eval "$(wanfarm completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(wanfarm completion zsh)"' >> ~/.zshrc
    fish:  wanfarm completion fish > ~/.config/fish/completions/wanfarm.fish
    """
    from farm.cli.entry import wanfarm

    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(wanfarm, {}, "wanfarm", "_WANFARM_COMPLETE").source())
