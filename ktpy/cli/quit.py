"""`ktpy quit` ends what `ktpy connect` began."""

import click

from ktpy.cli import render
from ktpy.cli.options import verbose
from ktpy.daemon import control_client, privileged
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.errors import NotConnected


@click.command(name="quit")
@verbose
def quit_() -> None:
    """End every `ktpy connect` of this user and wait until all of it is undone."""
    privileged.undo_stale_journals_unasked(render.on_standard_error)
    sessions = RuntimeDirectory.of(Caller.current()).control_sockets(CONNECT)
    if not sessions:
        raise NotConnected("Not connected: there is nothing to quit.")
    for path in sessions:
        server = control_client.ask_status(path).server
        control_client.quit_session(path)
        click.echo(f"Disconnected from {server}; routes and resolver are as before.")
