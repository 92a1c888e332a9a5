"""`ktpy version` names both sides."""

import click

from ktpy import __version__
from ktpy.cli import render
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.observe.status import ConnectStatus


@click.command()
@output
@verbose
def version(output: str) -> None:
    """Show the version of ktpy and of the agent of each connection.

    \b
    ktpy version --output json
    """
    sockets = RuntimeDirectory.of(Caller.become()).control_sockets(CONNECT)
    found = [status for path in sockets if isinstance(status := control_client.ask_status(path), ConnectStatus)]
    if output == "json":
        agents = [{"context": one.context, "pod": one.pod, "version": one.agent} for one in found]
        render.say_json({"version": __version__, "agents": agents})
        return
    render.say(f"ktpy {__version__}")
    for one in found:
        render.say(f"agent {one.agent or 'unknown'} in pod {one.pod} of {one.context}")
