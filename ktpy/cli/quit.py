"""`ktpy quit` ends what `ktpy connect` began."""

from typing import TYPE_CHECKING, cast

import click

from ktpy.cli import render
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory

if TYPE_CHECKING:
    from ktpy.observe.status import ConnectStatus


@click.command(name="quit")
@click.option("--name", metavar="NAME", help="Only the one that `ktpy connect --name NAME` began.")
@output
@verbose
def quit_(output: str, name: str | None) -> None:
    """End every `ktpy connect` of this user and wait until all of it is undone.

    Where nothing is connected, that is success too.

    \b
    ktpy quit
    """
    from ktpy.daemon import privileged  # not every system has what it needs

    privileged.undo_stale_journals_unasked(render.on_standard_error)
    servers = []
    answered, silent = control_client.ask_each(RuntimeDirectory.of(Caller.become()).control_sockets(CONNECT))
    for path, status in answered.items():
        connection = cast("ConnectStatus", status)
        if name not in (None, connection.name):
            continue
        server = connection.server
        render.say(f"Disconnecting from {server} ...", err=True)
        control_client.quit_session(path)
        servers.append(server)
        if output == "text":
            render.say(f"Disconnected from {server}; routes and resolver are as before.")
    if output == "json":
        render.say_json({"disconnected": servers})
    elif not servers and not silent:
        known_as = "" if name is None else f" as {name or repr(name)}"
        render.say(f"Not connected{known_as}: there is nothing to quit.")
    control_client.refuse_silent(silent)
