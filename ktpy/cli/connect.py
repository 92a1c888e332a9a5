"""`ktpy connect` makes the cluster reachable from every program on the laptop."""

import sys
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

import click

from ktpy.cli import render
from ktpy.cli.options import (
    CommandTaker,
    Decorated,
    Duration,
    Repeatable,
    Whole,
    cluster,
    decorated,
    parsed,
    printed,
    time_limit,
    verbose,
)
from ktpy.cli.pod_options import image, pod_template, pod_timeout
from ktpy.daemon.background import INTERRUPTED, perform
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import connection_log_name
from ktpy.daemon.parent import parent
from ktpy.observe.events import Ended, Ready, Report
from ktpy.sessions.options import (
    REFUSE,
    TRANSLATE,
    CaptureSpec,
    ConnectOptions,
    Launched,
    Via,
    listen_for_proxy,
    parse_via,
    refusal_of_include,
    refusal_of_name,
    refusal_of_pool,
    refusal_of_zone,
)

if TYPE_CHECKING:
    from ktpy.observe.status import ConnectStatus

MAX_KEEP_S = 86400.0
KEEP_OR_VIA = "--keep and --via do not go together: what outlives a link goes through the API server."


class _Network(click.ParamType["IPv4Network | IPv6Network"]):
    name = "network"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        try:
            return ip_network(value)
        except ValueError as error:
            self.fail(f"{error} (wanted: an address range such as 10.96.0.0/16)", param, ctx)


class _Included(_Network):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        network = super().convert(value, param, ctx)
        if refusal := refusal_of_include(network):
            self.fail(refusal, param, ctx)
        return network


class _Pool(_Network):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IPv4Network | IPv6Network:
        network = super().convert(value, param, ctx)
        if refusal := refusal_of_pool(network):
            self.fail(refusal, param, ctx)
        return network


def _zones(_context: click.Context, _parameter: click.Parameter, zones: tuple[str, ...]) -> tuple[str, ...]:
    for zone in zones:
        if refusal := refusal_of_zone(zone):
            raise click.BadParameter(refusal)
    return zones


def _name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    if name is not None and (refusal := refusal_of_name(name)):
        raise click.BadParameter(refusal)
    return name


def _allow_direct(context: click.Context, _parameter: click.Parameter, is_allowed: bool) -> None:
    context.meta["ktpy.allow_direct"] = is_allowed


def _via(context: click.Context, _parameter: click.Parameter, text: str) -> Via | None:
    [wanted] = parsed(parse_via, (text,))
    return None if wanted and wanted.is_auto and not context.meta["ktpy.allow_direct"] else wanted


def via(command: Decorated) -> Decorated:
    """Add the options that choose where connections reach the pod."""
    return decorated(
        command,
        click.option(
            "--allow-direct",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_allow_direct,
            envvar="KTPY_ALLOW_DIRECT",
            help="Let --via auto go past the API server. The pod listens beyond loopback then, see docs/security.md.",
        ),
        click.option(
            "--via",
            callback=_via,
            default="auto",
            show_default=True,
            envvar="KTPY_VIA",
            metavar="auto|api|node|HOST:PORT",
            help="Where connections reach the pod: through the API server, or past it.",
        ),
        click.option(
            "--ssh-only",
            is_flag=True,
            envvar="KTPY_SSH_ONLY",
            help="Keep bulk from the API server's sight, too, inside SSH; it is faster without, see docs/security.md.",
        ),
    )


local_shortcut = click.option(
    "--local-shortcut",
    is_flag=True,
    envvar="KTPY_LOCAL_SHORTCUT",
    help="Reach a service that you exchange or preview here by its local port, past the cluster.",
)


def overlaps(command: Decorated) -> Decorated:
    """Add the options that say what becomes of ranges that a local network has, too."""
    return decorated(
        command,
        click.option(
            "--translate-to",
            cls=Repeatable,
            type=_Pool(),
            multiple=True,
            envvar="KTPY_TRANSLATE_TO",
            metavar="RANGE",
            help="Take the other addresses from this range; means --on-overlap translate.",
        ),
        click.option(
            "--on-overlap",
            type=click.Choice([REFUSE, TRANSLATE]),
            envvar="KTPY_ON_OVERLAP",
            metavar="refuse|translate",
            help="Where a range of the cluster is a local network too: refuse (the default), or translate: reach both, "
            "the cluster's by other addresses, where its names lead.",
        ),
    )


def routing(command: Decorated) -> Decorated:
    """Add the options that choose which addresses and names are the cluster's."""
    return decorated(
        command,
        click.option(
            "--dns-zone",
            "dns_zones",
            cls=Repeatable,
            callback=_zones,
            multiple=True,
            envvar="KTPY_DNS_ZONE",
            metavar="ZONE",
            help="Also ask the cluster's DNS about names under this zone.",
        ),
        click.option("--no-pods", is_flag=True, envvar="KTPY_NO_PODS", help="Route services only."),
        click.option(
            "--exclude",
            cls=Repeatable,
            type=_Network(),
            multiple=True,
            envvar="KTPY_EXCLUDE",
            metavar="RANGE",
            help="Never route this range.",
        ),
        click.option(
            "--include",
            cls=Repeatable,
            type=_Included(),
            multiple=True,
            envvar="KTPY_INCLUDE",
            metavar="RANGE",
            help="Route this range as well, also where it overlaps a local one.",
        ),
    )


@click.command(cls=CommandTaker)
@cluster(namespace="Namespace of the shadow pod and of short names.")
@click.option(
    "--mode",
    type=click.Choice(["tun", "proxy"]),
    default="tun",
    show_default=True,
    envvar="KTPY_MODE",
    help="tun: every program, needs root. proxy: programs that are told of a SOCKS and HTTP proxy; needs none.",
)
@click.option(
    "--name",
    callback=_name,
    envvar="KTPY_NAME",
    metavar="NAME",
    help="Beside a connection without a name: its names end with .svc.NAME, and ranges that overlap are translated.",
)
@click.option(
    "--proxy-port",
    type=Whole(1, 65535),
    envvar="KTPY_PROXY_PORT",
    metavar="PORT",
    help="Port of the proxy on 127.0.0.1; any that is free by default.",
)
@click.option(
    "--detach", "-d", is_flag=True, envvar="KTPY_DETACH", help="Return when ready; `ktpy quit` ends the session."
)
@click.option("--no-dns", is_flag=True, envvar="KTPY_NO_DNS", help="Leave the system's resolver alone.")
@click.option(
    "--no-reconnect", is_flag=True, envvar="KTPY_NO_RECONNECT", help="End when the link is lost, with code 40."
)
@click.option(
    "--keep",
    "keep_s",
    type=Duration(MAX_KEEP_S),
    default=0.0,
    envvar="KTPY_KEEP",
    metavar="DURATION",
    help="Open connections outlive a lost link, and wait for it so long (90s, 10m, 2h). By default they end with it.",
)
@via
@local_shortcut
@time_limit
@click.option("--no-keep", is_flag=True, envvar="KTPY_NO_KEEP", help="Open connections end with the link.")
@routing
@overlaps
@printed("env", note="; env is for eval, with --mode proxy")
@verbose
@image
@pod_template
@pod_timeout
def connect(
    no_pods: bool,
    no_dns: bool,
    no_reconnect: bool,
    keep_s: float,
    no_keep: bool,
    pod_timeout: float,
    detach: bool,
    output: str,
    mode: str,
    proxy_port: int | None,
    on_overlap: str | None,
    **options: Any,
) -> None:
    """Reach every pod IP, service IP and cluster DNS name from every program on this laptop.

    With --mode proxy no root is needed, and only programs that are told of ktpy's proxy reach the cluster: those that
    COMMAND starts, or those of a shell after the eval.

    \b
    sudo ktpy connect -n shop
    curl http://web/            # in another terminal
    ktpy connect --mode proxy -- curl http://web/
    eval "$(ktpy connect --mode proxy --detach --output env)"
    """
    _refuse_contradictions(mode, no_dns, proxy_port, output, is_detached=detach and bool(options["command"]))
    if keep_s and not no_keep and options["via"]:
        if not options["via"].is_auto:
            raise click.UsageError(KEEP_OR_VIA)
        options["via"] = None
    if on_overlap == REFUSE and options["translate_to"]:
        raise click.UsageError("--translate-to and --on-overlap refuse do not go together.")
    wanted = ConnectOptions(
        on_overlap=on_overlap or (TRANSLATE if options["translate_to"] or options["name"] else REFUSE),
        pods=not no_pods,
        dns=not no_dns,
        reconnect=not no_reconnect,
        keep_s=0.0 if no_keep or no_reconnect else keep_s,
        pod_timeout_s=pod_timeout,
        capture=CaptureSpec(mode),
        **options,
    )
    caller = Caller.current()
    quit_it = f"`ktpy quit --name {wanted.name}`" if wanted.name else "`ktpy quit`"
    end = quit_it if detach else "The end of the command" if wanted.command else "Ctrl-C"
    show = render.connection(output, end, has_command=bool(wanted.command))

    if (running := _needless(wanted, caller)) is not None:
        from ktpy.sessions.running import already

        if parent() is not None:  # which asks where it stands
            show(Ready(running))
        show(Ended(0, already(running)))
        return
    try:
        launched = _launch(wanted, caller, proxy_port)
    except KeyboardInterrupt:  # at sudo's prompt
        show(INTERRUPTED)
        sys.exit(INTERRUPTED.exit_code)

    def work(report: Report) -> int:
        from ktpy.sessions.connect import run  # the heavy half of ktpy: not before it is needed

        return run(wanted, launched, caller, report)

    sys.exit(perform(work, show, caller, connection_log_name(wanted.name) if detach else None))


def _refuse_contradictions(mode: str, no_dns: bool, proxy_port: int | None, output: str, *, is_detached: bool) -> None:
    if mode == "tun" and (proxy_port or output == "env"):
        raise click.UsageError("--proxy-port and --output env are for --mode proxy.")
    if mode == "proxy" and no_dns:
        raise click.UsageError("--mode proxy leaves the system's resolver alone by itself, without --no-dns.")
    if is_detached:
        raise click.UsageError("--detach and a command do not go together: ktpy ends when the command does.")


def _needless(wanted: ConnectOptions, caller: Caller) -> "ConnectStatus | None":
    """Return the session that stands already, where nobody need be asked for a password because of it."""
    if wanted.capture.mode == "proxy" or wanted.command:
        return None
    from ktpy.daemon.privileged import may_ask_for_password

    if not may_ask_for_password():
        return None
    from ktpy.sessions.running import needless

    return needless(wanted, caller)


def _launch(wanted: ConnectOptions, caller: Caller, proxy_port: int | None) -> Launched:
    """Take the proxy's port, or root, by way of sudo where need be."""
    if wanted.capture.mode == "proxy":
        caller.drop_privileges()
        return listen_for_proxy(proxy_port)
    from ktpy.daemon.privileged import launch_helper

    return launch_helper(caller, render.on_standard_error)
