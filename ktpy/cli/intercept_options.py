"""`exchange`, `mesh`, `tap` and `preview` share these options, and run in one way."""

import sys
from collections.abc import Callable
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import exposed_ports
from ktpy.cli.live import LiveTerminal
from ktpy.cli.options import CommandTaker, Decorated, Repeatable, Whole, cluster, decorated, output, time_limit, verbose
from ktpy.cli.pod_options import image, labels, pod_template, pod_timeout
from ktpy.daemon import background
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import target_log_name
from ktpy.daemon.runtime import CONNECT, RuntimeDirectory
from ktpy.observe.events import Event, Notice, Report
from ktpy.sessions.options import WAIT_S, AppProtocol, ExposeOption, InterceptOptions, Reference, parse_expose

NOT_CONNECTED = "Not connected: your program reaches no other service of the cluster; `sudo ktpy connect` connects."


class InterceptCommand(CommandTaker):
    """An InterceptCommand takes one service."""

    def too_much(self, ctx: click.Context) -> str:
        guess = f"{ctx.command_path} {ctx.params.get('target', ctx.params.get('name'))} ... -- {' '.join(ctx.args)}"
        return f"{ctx.args[0]} is too much: ktpy {self.name} takes one service. If it is a command, say: {guess}"


def _exposed(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[ExposeOption, ...]:
    try:
        return parse_expose(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _exposing(*names: str, metavar: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        *names,
        "expose",
        cls=Repeatable,
        multiple=True,
        required=True,
        callback=_exposed,
        envvar="KTPY_EXPOSE",
        metavar=metavar,
        shell_complete=exposed_ports,
        help="Local port, and port of the service by number or name. HOST:PORT:REMOTE where it is not this laptop's "
        "own, such as a container's. Repeat it, or separate with commas.",
    )


expose = _exposing("--expose", "-e", metavar="LOCAL[:REMOTE][/udp]")
to = _exposing("--to", "--expose", "-e", metavar="LOCAL[:REMOTE]")

protocol = click.option(
    "--protocol",
    type=click.Choice([AppProtocol.HTTP.value, AppProtocol.TCP.value]),
    envvar="KTPY_PROTOCOL",
    help="What is spoken on the exposed ports, where the service does not say.",
)

gateway_label = click.option(
    "--gateway-label",
    "gateway_labels",
    cls=Repeatable,
    multiple=True,
    callback=labels,
    envvar="KTPY_GATEWAY_LABEL",
    metavar="KEY=VALUE",
    help="A label for the gateway's pod, so that NetworkPolicies admit it.",
)

replicas = click.option(
    "--replicas",
    type=Whole(1, 5),
    default=1,
    show_default=True,
    envvar="KTPY_REPLICAS",
    metavar="N",
    help="Pods of the gateway, where this command is the one that makes it.",
)

move_clients = click.option(
    "--move-clients",
    is_flag=True,
    envvar="KTPY_MOVE_CLIENTS",
    help="Evict the original pods one by one, so that clients that keep connections to them connect anew.",
)

in_mesh = click.option(
    "--in-mesh/--not-in-mesh",
    default=None,
    envvar="KTPY_IN_MESH",
    help="Whether the gateway is part of the service mesh of the original pods, where this command makes it.",
)

when_local_down = click.option(
    "--when-local-down",
    type=click.Choice(["origin", "wait", "fail"]),
    default="origin",
    show_default=True,
    envvar="KTPY_WHEN_LOCAL_DOWN",
    help="While the local port does not answer, requests go to the original pods (origin), get 503 (fail), or wait up "
    f"to {WAIT_S:g} s for a program that was there (wait).",
)


def intercepting(command: Decorated) -> Decorated:
    """Add the options of all four, but for `expose`; those of every day come first."""
    return decorated(
        command,
        pod_template,
        replicas,
        pod_timeout,
        image,
        protocol,
        verbose,
        output,
        click.option(
            "--detach", "-d", is_flag=True, envvar="KTPY_DETACH", help="Return when ready; `ktpy leave` ends it."
        ),
        time_limit,
        cluster(namespace="Namespace of the service."),
    )


def target_reference(text: str) -> Reference:
    """Read a TARGET. Raises click.BadParameter for what is none."""
    try:
        return Reference.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="TARGET") from None


def namespace_named(reference: Reference, namespace: str | None) -> str | None:
    """Return the namespace that the user named: by the option, or as in web.shop. Raises click.UsageError for two."""
    if reference.namespace is None or namespace in (None, reference.namespace):
        return reference.namespace or namespace
    raise click.UsageError(f"{reference.name}.{reference.namespace} and --namespace {namespace} contradict each other.")


def perform(
    kind: str,
    *,
    detach: bool,
    output: str,
    protocol: str | None,
    pod_timeout: float,
    notices: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Run it in the foreground or in the background, and exit with its exit code."""
    if kind != "preview" and (reference := target_reference(options["target"])).namespace is not None:
        namespace = namespace_named(reference, options["namespace"])
        options |= {"target": reference.name, "namespace": namespace}
    spoken = AppProtocol(protocol) if protocol else None
    wanted = InterceptOptions(kind=kind, protocol=spoken, pod_timeout_s=pod_timeout, **options)
    if detach and wanted.command:
        raise click.UsageError("--detach and a command do not go together: ktpy leaves when the command ends.")
    caller = Caller.current()
    caller.drop_privileges()
    is_connected = bool(RuntimeDirectory.of(caller).control_sockets(CONNECT))

    def work(report: Report) -> int:
        from ktpy.sessions.intercept import run  # the heavy half of ktpy: not before it is needed

        for notice in notices if is_connected else (*notices, NOT_CONNECTED):
            report(Notice(notice))
        return run(wanted, caller, report)

    end = f"`ktpy leave {wanted.target}`" if detach else "Ctrl-C"
    show = _shower(output, f"{end} ends it and undoes everything.", has_command=bool(wanted.command))
    name = target_log_name(kind, wanted.target)
    sys.exit(background.perform(work, show, caller, name if detach else None))


def _shower(output: str, farewell: str, *, has_command: bool) -> Report:
    """Return how events are shown: on standard error where standard output belongs to the user's command."""
    terminal = LiveTerminal(sys.stdout, farewell)

    def show(event: Event) -> None:
        if output == "json":
            render.event_json(event, err=has_command)
        elif has_command:
            render.event(event, err=True)
        else:
            terminal.show(event)

    return show
