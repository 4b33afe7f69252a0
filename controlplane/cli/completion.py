"""`camp completion`: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from controlplane.domain.errors import Invalid

VARIABLE = "_CAMP_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell; bash needs version 4.4.

    zsh: the same, in ~/.zshrc after compinit. fish: camp completion fish >
    ~/.config/fish/completions/camp.fish.

    Example: camp completion bash > ~/.local/share/bash-completion/completions/camp
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Invalid(f"There is no completion for {shell}; take bash, zsh or fish.")
    script = kind(context.find_root().command, {}, "camp", VARIABLE)
    # Not `source()`, which first starts bash to ask for its version: this may be another machine.
    click.echo(script.source_template % script.source_vars())
