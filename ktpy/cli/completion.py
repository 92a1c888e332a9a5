"""`ktpy completion` prints the shell's half of tab completion."""

import click

from ktpy.cli.options import verbose
from ktpy.completion.shells import SCRIPTS


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@verbose
def completion(shell: str) -> None:
    """Print the completion script for SHELL; for example `source <(ktpy completion bash)`."""
    click.echo(SCRIPTS[shell], nl=False)
