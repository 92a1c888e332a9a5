"""`ktpy list` shows the services of a namespace, and who intercepts them."""

from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, output, verbose
from ktpy.daemon.caller import Caller


@click.command(name="list")
@cluster(namespace="Namespace to list.")
@output
@verbose
def list_(output: str, **place: Any) -> None:
    """List the services of a namespace, and who intercepts them and how.

    \b
    ktpy list -n shop
    """
    from ktpy.daemon.records import Records
    from ktpy.sessions import once  # brings asyncio, which `ktpy --help` need not wait for

    caller = Caller.current()
    caller.drop_privileges()
    found = once.services(once.ClusterRef(**place), Records.of(caller), render.on_error_output)
    if output == "json":
        render.say_json(found)
    elif found["services"]:
        render.say(f"namespace {found['namespace']} of {found['context']}", *_table(found["services"]))
    else:
        render.say(f"Namespace {found['namespace']} has no services.")
    if output != "json":
        render.say(*map(render.developed, found["developed"]))


def _table(services: list[dict[str, Any]]) -> list[str]:
    rows = [("SERVICE", "PORTS", "INTERCEPTS")]
    for service in services:
        notes = {"ExternalName": " (another name)", "Headless": " (headless)"}
        name = service["name"] + (" (preview)" if service["is_preview"] else notes.get(service["type"], ""))
        intercepts = list(map(_intercept, service["intercepts"])) or [""]
        ports = ", ".join(map(_port, service["ports"]))
        rows += [(name, ports, intercepts[0]), *(("", "", one) for one in intercepts[1:])]
    return render.table(rows)


def _port(port: dict[str, Any]) -> str:
    notes = [port["name"]] if port["name"] else []
    notes += [port["protocol"]] if port["protocol"] != "TCP" else []
    return f"{port['port']} ({', '.join(notes)})" if notes else str(port["port"])


def _intercept(intercept: dict[str, Any]) -> str:
    what = f"{intercept['owner']}: {intercept['description'] or 'unknown'}"
    what += f" since {intercept['since']}" if intercept["since"] else ""
    return what + render.condition(intercept)
