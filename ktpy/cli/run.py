"""`ktpy run` gives one program the cluster's network, without root."""

import sys
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import service_names
from ktpy.cli.connect import routing
from ktpy.cli.mesh import check_version, match_of
from ktpy.cli.options import CommandTaker, Repeatable, cluster, verbose
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.cli.workload_options import environment_edits, named, workload
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.errors import PrivilegeMissing
from ktpy.observe.events import Ended, Event, Notice, Report, StartStep
from ktpy.sessions.options import (
    CaptureSpec,
    ConnectOptions,
    EnvironmentEdits,
    ExposeOption,
    Publish,
    RunOptions,
    WorkloadChoice,
    listen_for_proxy,
    parse_exchange,
    parse_publish,
)

PATIENCE_S = 3.0
"""A start that takes longer is told step by step."""


def _exchanged(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[ExposeOption, ...]:
    try:
        return tuple(map(parse_exchange, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _published(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Publish, ...]:
    try:
        return tuple(map(parse_publish, values))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _copies_claims(_context: click.Context, _parameter: click.Parameter, volumes: str) -> bool:
    if volumes == "live":
        raise click.BadParameter("Claims cannot be read and written through yet; copy gives a copy of them.")
    return volumes == "copy"


@click.command(cls=CommandTaker)
@cluster(namespace="Namespace of the shadow pod and of short names.")
@click.option(
    "--mode",
    type=click.Choice(["namespace", "proxy"]),
    default="namespace",
    show_default=True,
    envvar="KTPY_RUN_MODE",
    help="namespace: any program, on Linux. proxy: programs that heed ktpy's SOCKS and HTTP proxy, anywhere.",
)
@click.option(
    "--exchange",
    cls=Repeatable,
    multiple=True,
    callback=_exchanged,
    envvar="KTPY_EXCHANGE",
    metavar="[LOCAL:]PORT",
    help="Serve this port of the service by COMMAND; LOCAL is its own port, by default the one that the pods have.",
)
@click.option(
    "--mesh",
    callback=check_version,
    envvar="KTPY_MESH",
    metavar="VERSION",
    help="Of --exchange, only requests whose header VERSION has this value.",
)
@click.option(
    "--service",
    envvar="KTPY_EXCHANGE_SERVICE",
    shell_complete=service_names,
    metavar="NAME",
    help="The service of --exchange: a name, or KIND/NAME of what it leads to; by default the WORKLOAD's.",
)
@click.option(
    "--publish",
    "-p",
    cls=Repeatable,
    multiple=True,
    callback=_published,
    envvar="KTPY_PUBLISH",
    metavar="[LOCAL:]PORT",
    help="Port of the program that is one of 127.0.0.1 on this laptop; others are found once it listens on them.",
)
@click.option("--no-publish", is_flag=True, envvar="KTPY_NO_PUBLISH", help="Publish no ports but those of --publish.")
@workload(required=False)
@environment_edits
@click.option(
    "--volumes",
    "copies_claims",
    callback=_copies_claims,
    type=click.Choice(["copy", "none", "live"]),
    default="copy",
    show_default=True,
    envvar="KTPY_VOLUMES",
    help="What the program gets of WORKLOAD's claims: a copy, or nothing.",
)
@routing
@verbose
@image
@pod_template
@pod_timeout
@click.pass_context
def run(
    ctx: click.Context,
    /,
    workload: str | None,
    container: str | None,
    env: dict[str, str],
    env_file: dict[str, str],
    unset: tuple[str, ...],
    copies_claims: bool,
    no_pods: bool,
    pod_timeout: float,
    mode: str,
    publish: tuple[Publish, ...],
    no_publish: bool,
    exchange: tuple[ExposeOption, ...],
    mesh: str | None,
    service: str | None,
    **options: Any,
) -> None:
    """Run COMMAND in a network of its own, in which the cluster's addresses and names are reachable.

    With WORKLOAD (a name, deploy/web, sts/db, pod/web-0) it has the environment of that workload's pods, too, without
    a right to read Secrets. PATH, HOME, SHELL, TERM and PWD stay the laptop's.

    All else it reaches as ever, and this laptop's loopback by the name host.ktpy.internal. No root is needed; other
    programs, routes and the resolver of this laptop see nothing of it. It ends with the exit code of COMMAND.

    \b
    ktpy run -n shop -- curl http://web/
    ktpy run -n shop -- bash
    ktpy run web -n shop -- npm start
    ktpy run -n shop --publish 8080:80 -- ./server
    ktpy run -n shop --service web --exchange 80 --mesh alice -- ./server
    """
    if not options["command"]:
        raise click.UsageError("Say which program to run, after two hyphens: ktpy run ... -- COMMAND")
    if bool(service or mesh) > bool(exchange) or (exchange and not (service or workload)):
        raise click.UsageError("--exchange names ports of a WORKLOAD or of --service, which go with it as does --mesh.")
    if mode == "proxy" and (exchange or publish):
        raise click.UsageError("--mode proxy publishes and exchanges nothing: the program listens on this laptop.")
    if mode == "proxy" and workload:
        raise click.UsageError("A WORKLOAD goes with --mode namespace; `ktpy env` prints its environment anywhere.")
    choice = None
    if workload:
        target, options["namespace"] = named(workload, options["namespace"])
        choice = WorkloadChoice(target, container)
    edits = EnvironmentEdits(env_file | env, frozenset(unset))
    match = match_of(mesh, (), None) if mesh else None
    of_run = RunOptions(publish, not no_publish, service, exchange, match, choice, edits, copies_claims)
    is_verbose = ctx.find_root().meta.get("ktpy.verbosity", 0) > 0
    wanted = ConnectOptions(pods=not no_pods, pod_timeout_s=pod_timeout, capture=CaptureSpec(mode), **options)
    caller = Caller.current()

    def show(event: Event) -> None:
        is_late = isinstance(event, StartStep) and event.elapsed_s >= PATIENCE_S and event.name != "end"
        is_failure = isinstance(event, Ended) and event.is_error
        if is_verbose or is_late or is_failure or isinstance(event, Notice):
            render.event(event, err=True)

    launched = _launch(mode, caller)

    def work(report: Report) -> int:
        if mode == "proxy":
            from ktpy.sessions import connect

            return connect.run(wanted, launched, caller, report)
        from ktpy.sessions import run

        return run.run(wanted, of_run, launched, caller, report)

    sys.exit(perform(work, show, caller, None))


def _launch(mode: str, caller: Caller) -> Any:
    """Take the proxy's port, or start the helper, and be the caller from now on."""
    if mode == "proxy":
        caller.drop_privileges()
        return listen_for_proxy(None)
    if not sys.platform.startswith("linux"):
        raise PrivilegeMissing(
            "This system has no namespaces, by which a program gets a network of its own; nothing was changed.",
            hint="For programs that heed a proxy: ktpy run --mode proxy ...",
        )
    from ktpy.daemon.privileged import launch_private_helper

    return launch_private_helper(caller)
