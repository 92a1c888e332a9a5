"""`ktpy run` gives one program the cluster's network, without root."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import port_names, target_names, versions
from ktpy.cli.connect import local_shortcut, routing, via
from ktpy.cli.mesh import check_version, match_of
from ktpy.cli.options import CommandTaker, Repeatable, cluster, each, output, verbose
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.cli.workload_options import environment_edits, named, workload
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.errors import PrivilegeMissing
from ktpy.observe.events import Ended, Event, Notice, Report, StartStep
from ktpy.sessions.options import (
    CaptureSpec,
    ClaimAccess,
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
    callback=each(parse_exchange),
    envvar="KTPY_EXCHANGE",
    shell_complete=port_names,
    metavar="[LOCAL:]PORT",
    help="Serve this port of the service by COMMAND; LOCAL is its own port, by default the one that the pods have.",
)
@click.option(
    "--mesh",
    callback=check_version,
    envvar="KTPY_MESH",
    shell_complete=versions,
    metavar="VERSION",
    help="Of --exchange, only requests whose header VERSION has this value.",
)
@click.option(
    "--service",
    envvar="KTPY_EXCHANGE_SERVICE",
    shell_complete=target_names,
    metavar="NAME",
    help="The service of --exchange: a name, or KIND/NAME of what it leads to; by default the WORKLOAD's.",
)
@click.option(
    "--publish",
    "-p",
    cls=Repeatable,
    multiple=True,
    callback=each(parse_publish),
    envvar="KTPY_PUBLISH",
    metavar="[LOCAL:]PORT",
    help="Port of the program that is one of 127.0.0.1 on this laptop; others are found once it listens on them.",
)
@click.option("--no-publish", is_flag=True, envvar="KTPY_NO_PUBLISH", help="Publish no ports but those of --publish.")
@workload(required=False)
@environment_edits
@click.option(
    "--volumes",
    "claims",
    type=click.Choice([one.value for one in ClaimAccess]),
    default=ClaimAccess.COPY.value,
    show_default=True,
    envvar="KTPY_VOLUMES",
    help="What the program gets of WORKLOAD's claims: a copy, nothing, or live: the claims themselves.",
)
@click.option(
    "--print-only",
    is_flag=True,
    help="Print the manifest of ktpy's pod and where the environment and the files come from; make nothing.",
)
@via
@local_shortcut
@routing
@output
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
    from_pod: bool,
    env: dict[str, str],
    env_file: dict[str, str],
    unset: tuple[str, ...],
    claims: str,
    print_only: bool,
    output: str,
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

    With WORKLOAD (a name, deploy/web, sts/db, pod/web-0, svc/web) it has the environment of that workload's pods, too,
    without a right to read Secrets. PATH, HOME, SHELL, TERM and PWD stay the laptop's.

    All else it reaches as ever, and this laptop's loopback by the name host.ktpy.internal. No root is needed; other
    programs, routes and the resolver of this laptop see nothing of it. It ends with the exit code of COMMAND.

    \b
    ktpy run -n shop -- curl http://web/
    ktpy run -n shop -- bash
    ktpy run web -n shop -- npm start
    ktpy run web -n shop --print-only
    ktpy run -n shop --publish 8080:80 -- ./server
    ktpy run -n shop --service web --exchange 80 --mesh alice -- ./server
    """
    if not options["command"] and not print_only:
        raise click.UsageError("Say which program to run, after two hyphens: ktpy run ... -- COMMAND")
    _refuse_contradictions(mode, workload, service, mesh, has_exchange=bool(exchange), publishes=bool(publish))
    if from_pod and not workload:
        raise click.UsageError("--from-pod goes with a WORKLOAD.")
    choice = None
    if workload:
        target, options["namespace"] = named(workload, options["namespace"])
        choice = WorkloadChoice(target, container, from_pod)
    edits = EnvironmentEdits(env_file | env, frozenset(unset))
    match = match_of(mesh, (), None) if mesh else None
    of_run = RunOptions(publish, not no_publish, service, exchange, match, choice, edits, ClaimAccess(claims))
    wanted = ConnectOptions(pods=not no_pods, pod_timeout_s=pod_timeout, capture=CaptureSpec(mode), **options)
    if print_only:
        _print_plan(wanted, of_run, output)
        return
    caller = Caller.current()
    is_verbose = ctx.find_root().meta.get("ktpy.verbosity", 0) > 0

    def show(event: Event) -> None:
        if output == "json":
            render.event_json(event, err=True)
        elif is_verbose or _is_told(event):
            render.event(event, err=True)

    launched = _launch(mode, caller)

    def work(report: Report) -> int:
        if mode == "proxy":
            from ktpy.sessions import run_proxied

            return run_proxied.run(wanted, of_run, launched, caller, report)
        from ktpy.sessions import run

        return run.run(wanted, of_run, launched, caller, report)

    sys.exit(perform(work, show, caller, None))


def _refuse_contradictions(
    mode: str, workload: str | None, service: str | None, mesh: str | None, *, has_exchange: bool, publishes: bool
) -> None:
    if bool(service or mesh) > has_exchange or (has_exchange and not (service or workload)):
        raise click.UsageError("--exchange names ports of a WORKLOAD or of --service, which go with it as does --mesh.")
    if mode == "proxy" and (has_exchange or publishes):
        raise click.UsageError("--mode proxy publishes and exchanges nothing: the program listens on this laptop.")


def _is_told(event: Event) -> bool:
    """Return whether an event is shown beside the program's own output."""
    is_late = isinstance(event, StartStep) and event.elapsed_s >= PATIENCE_S and event.name != "end"
    return is_late or isinstance(event, Notice) or (isinstance(event, Ended) and event.is_error)


def _print_plan(options: ConnectOptions, of_run: RunOptions, output: str) -> None:
    from ktpy.sessions.run_plan import plan  # brings asyncio, which `ktpy --help` need not wait for

    Caller.become()
    found = plan(options, of_run)
    if output == "json":
        render.say_json(found)
    else:
        render.say(*_plan_lines(found))


def _plan_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield YAML of the manifest, and above it, as comments, what the program would get."""
    import yaml

    whose = f", for container {found['container']} of {found['workload']}" if found["workload"] else ""
    yield f"# Nothing was made. ktpy run makes this Job in namespace {found['namespace']}{whose}."
    if found["environment"]:
        yield "# Environment, over the laptop's own; of two with one name the later counts:"
        yield from (f"#   {one['name']:<24} {one['source']}" for one in found["environment"])
    if found["unset"]:
        yield f"# Unset: {', '.join(found['unset'])}"
    if found["files"]:
        yield "# Files:"
    for one in found["files"]:
        how = (", read-only" if one["read_only"] else "") if one["is_given"] else ": left out"
        yield f"#   {one['path']:<24} {one['source']}{how}"
    yield from yaml.safe_dump(found["manifest"], sort_keys=False).splitlines()


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
