"""`ktpy completion` prints the shell's half of tab completion."""

import click
from click.shell_completion import get_completion_class

from ktpy.cli.options import verbose


@click.command(short_help="Print the script for tab completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@verbose
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL; for example `source <(ktpy completion bash)`."""
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(completer(ctx.find_root().command, {}, "ktpy", "_KTPY_COMPLETE").source())
