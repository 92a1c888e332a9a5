"""`ktpy forward` leads ports of the laptop's loopback to services, pods and workloads, without root."""

import sys
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import port_names, target_names
from ktpy.cli.connect import local_shortcut, via
from ktpy.cli.options import CommandTaker, cluster, each, printed, time_limit, verbose
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.cli.workload_options import named
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import target_log_name
from ktpy.daemon.runtime import FORWARD
from ktpy.observe.events import Report
from ktpy.sessions.options import CaptureSpec, ConnectOptions, ForwardOptions, PortChoice, parse_forwarded


@click.command(cls=CommandTaker)
@click.argument("target", required=False, shell_complete=target_names)
@click.argument(
    "ports",
    nargs=-1,
    callback=each(parse_forwarded),
    metavar="[[LOCAL]:]PORT[/udp]...",
    shell_complete=port_names,
)
@cluster(namespace="Namespace of what is forwarded, and of the shadow pod.")
@click.option("--all", "is_all", is_flag=True, help="Every service of the namespace.")
@click.option(
    "--detach", "-d", is_flag=True, envvar="KTPY_DETACH", help="Return when ready; `ktpy leave` ends the session."
)
@via
@local_shortcut
@time_limit
@printed("env", note="; env is what a shell evaluates")
@verbose
@image
@pod_template
@pod_timeout
def forward(
    target: str | None,
    ports: tuple[PortChoice, ...],
    is_all: bool,
    detach: bool,
    output: str,
    pod_timeout: float,
    **options: Any,
) -> None:
    """Lead ports of 127.0.0.1 to TARGET: a service, or pod/NAME, deploy/NAME and the like.

    Each connection goes to whatever pods there are then, over TCP or UDP, and the session comes back by itself as that
    of connect does. Without a PORT it is all that TARGET has. LOCAL is the same number by default; 80 is 8080, and
    where a number is taken it is any that is free. COMMAND, and `--output env`, have variables as in a pod:
    WEB_SERVICE_HOST, WEB_SERVICE_PORT.

    \b
    ktpy forward web -n shop
    ktpy forward web 3000:80 -n shop
    ktpy forward pod/db-0 5432 -n shop -- psql -h 127.0.0.1
    ktpy forward --all -n shop -- npm test
    eval "$(ktpy forward web -n shop --detach --output env)"
    """
    if bool(target) is is_all:
        raise click.UsageError("Say what to forward: a TARGET, or --all.")
    if target:
        target, options["namespace"] = named(target, options["namespace"])
    wanted = ConnectOptions(pods=False, pod_timeout_s=pod_timeout, capture=CaptureSpec("forward"), **options)
    if detach and wanted.command:
        raise click.UsageError("--detach and a command do not go together: ktpy ends when the command does.")
    name = target_log_name(FORWARD, target)
    end = f"`ktpy leave {target or name}`" if detach else "The end of the command" if wanted.command else "Ctrl-C"
    show = render.connection(output, end, has_command=bool(wanted.command))
    caller = Caller.become()

    def work(report: Report) -> int:
        from ktpy.sessions.forward import run  # the heavy half of ktpy: not before it is needed

        return run(wanted, ForwardOptions(target, ports), caller, report)

    sys.exit(perform(work, show, caller, name if detach else None))
