"""`ktpy version` names both sides."""

from collections.abc import Iterator
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.observe.status import ConnectStatus


@click.command()
@click.option("--client", is_flag=True, help="Do not ask the cluster.")
@cluster(namespace="Namespace whose agents are looked at.")
@output
@verbose
def version(client: bool, output: str, **place: Any) -> None:
    """Show the versions of ktpy, of Kubernetes, and of the agents in the namespace and of your connections.

    The cluster is asked for at most 3 s; where it does not answer, that is said, and all else is shown.

    \b
    ktpy version
    ktpy version --client --output json
    """
    from ktpy.sessions.versions import versions

    sockets = RuntimeDirectory.of(Caller.become()).control_sockets(CONNECT)
    answered, silent = control_client.ask_each(sockets)
    own = [status for status in answered.values() if isinstance(status, ConnectStatus)]
    found = versions(own, None if client else place)
    if output == "json":
        render.say_json(found)
    else:
        render.say(*_lines(found))
    control_client.refuse_silent(silent)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    protocol, kubernetes, server = found["protocol"], found["kubernetes"], found["server"]
    yield f"ktpy {found['version']}"
    yield f"image {found['image']}"
    yield f"protocol {protocol['version']}, understands {protocol['oldest']} to {protocol['newest']}"
    yield f"Kubernetes {kubernetes['oldest']} to {kubernetes['newest']}" + (_server(server) if server else "")
    for one in found["agents"]:
        what = "agent " + (one["version"] or f"of image {one['image'] or 'unknown'}")
        differs = f" ({one['difference']} than this ktpy)" if one["difference"] else ""
        whose = f", {one['role']} of {one['owner']}" if one["owner"] else ""
        yield f"{what}{differs} in pod {one['pod']} of {one['context']}{whose}"
    yield from found["remarks"]


def _server(server: dict[str, Any]) -> str:
    has = f"; {server['context']} has {server['version'] or 'an unknown version'}"
    return has + {"older": ", which is too old", "newer": ", which is newer: not tested"}.get(server["support"], "")
