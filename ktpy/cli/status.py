"""`ktpy status` shows what is connected."""

import json

import click

from ktpy.cli import render
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client, privileged
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import RuntimeDirectory
from ktpy.observe.codec import to_json


@click.command()
@output
@verbose
def status(output: str) -> None:
    """Show the sessions of this user: cluster, ranges, DNS, pod, traffic."""
    privileged.undo_stale_journals_unasked(render.on_standard_error)
    sessions = [control_client.ask_status(path) for path in RuntimeDirectory.of(Caller.current()).control_sockets()]
    if output == "json":
        click.echo(json.dumps({"sessions": [to_json(session) for session in sessions]}, indent=2))
    elif sessions:
        click.echo("\n".join(render.status(session) for session in sessions))
    else:
        click.echo("Not connected. `sudo ktpy connect` connects.")
