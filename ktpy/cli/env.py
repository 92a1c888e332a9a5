"""`ktpy env` prints the environment of a workload's container."""

import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, verbose
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.cli.workload_options import named, workload
from ktpy.daemon.caller import Caller
from ktpy.observe.events import Event, Notice
from ktpy.sessions.options import LAPTOPS_OWN, ConnectOptions, WorkloadChoice

MASK = "********"
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Kubernetes takes more: dots and hyphens, and since 1.34 nearly anything."""
_DOTENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def _export(name: str, value: str) -> str | None:
    return f"export {name}={shlex.quote(value)}" if _SHELL_NAME.fullmatch(name) else None


def _dotenv(name: str, value: str) -> str | None:
    if not _DOTENV_NAME.fullmatch(name) or {"'", "`"} <= set(value):  # a shell that sources it would run it
        return None
    if not set(value) & set("'\\"):
        return f"{name}='{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\n")
    return f'{name}="{escaped}"'


def _docker(name: str, value: str) -> str | None:
    return None if re.search(r"[\r\n]", value) or re.search(r"[\s=]|^#", name) else f"{name}={value}"


FORMATS: Mapping[str, Callable[[str, str], str | None]] = {"export": _export, "dotenv": _dotenv, "docker": _docker}
"""Each renders a variable; None when the format cannot express it."""


@click.command()
@cluster(namespace="Namespace of the workload.")
@workload(required=True)
@click.option(
    "--output",
    "-o",
    type=click.Choice([*FORMATS, "json"]),
    default="export",
    show_default=True,
    help="export: for eval in a shell. dotenv: a .env file. docker: for `docker run --env-file`.",
)
@click.option("--show-secrets", is_flag=True, help="Show the values of Secrets on a terminal, too.")
@verbose
@image
@pod_template
@pod_timeout
@click.pass_context
def env(
    ctx: click.Context,
    /,
    workload: str,
    container: str | None,
    from_pod: bool,
    output: str,
    show_secrets: bool,
    pod_timeout: float,
    namespace: str | None,
    **options: Any,
) -> None:
    """Print the environment of WORKLOAD: of a name, deploy/web, sts/db, cronjob/report, pod/web-0 or svc/web.

    A pod of ktpy's asks for the same environment, so nobody needs a right to read Secrets. It goes at once.

    \b
    eval "$(ktpy env web -n shop)"
    ktpy env deploy/web --output docker > web.env
    """
    from ktpy.sessions.env import environment  # brings asyncio, which `ktpy --help` need not wait for

    target, place = named(workload, namespace)
    is_verbose = ctx.find_root().meta.get("ktpy.verbosity", 0) > 0

    def show(event: Event) -> None:
        if is_verbose or isinstance(event, Notice):
            render.on_error_output(event)

    Caller.become()
    wanted = ConnectOptions(namespace=place, pod_timeout_s=pod_timeout, **options)
    found = environment(wanted, WorkloadChoice(target, container, from_pod), show)
    is_terminal = sys.stdout.isatty()
    if is_terminal and not show_secrets and found["secret_names"]:
        found["environment"] |= dict.fromkeys(found["secret_names"], MASK)
        render.say("Values of Secrets are masked on a terminal; --show-secrets shows them.", err=True)
    if output == "json":
        render.say_json(found)
        return
    if output == "export" and (own := LAPTOPS_OWN & found["environment"].keys()):
        render.say(f"{', '.join(sorted(own))}: left out, the shell keeps its own.", err=True)
        found["environment"] = {name: value for name, value in found["environment"].items() if name not in own}
    rendered = {name: FORMATS[output](name, value) for name, value in found["environment"].items()}
    lines = [line for line in rendered.values() if line is not None]
    render.raw(lines, is_terminal=is_terminal)
    if lost := [name for name, line in rendered.items() if line is None]:
        render.say(f"The format {output} cannot express {', '.join(lost)}: left out.", err=True)
