"""`ktpy help` shows the help of a command, or of all as a manual page."""

from typing import cast

import click

from ktpy.cli.complete import command_names
from ktpy.cli.man import page


@click.command(name="help")
@click.argument("command", required=False, shell_complete=command_names)
@click.option("--man", is_flag=True, help="Print the manual page, with the help of every command.")
@click.pass_context
def help_(ctx: click.Context, command: str | None, man: bool) -> None:
    """Show the help of a command.

    \b
    ktpy help exchange
    ktpy help --man | man -l -
    """
    root = ctx.find_root()
    cli = cast(click.Group, root.command)
    if man:
        click.echo(page(cli), nl=False)
        return
    if command is None:
        click.echo(cli.get_help(root))
        return
    _, found, _ = cli.resolve_command(root, [command])
    assert found is not None  # noqa: S101 - it would have been refused
    with found.make_context(command, [], parent=root, resilient_parsing=True) as shown:
        click.echo(found.get_help(shown))
