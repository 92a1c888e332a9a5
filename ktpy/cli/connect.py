"""`ktpy connect` makes the cluster reachable from every program on the laptop."""

import sys
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import Repeatable, cluster, image, output, pod_timeout, verbose
from ktpy.cli.pod_options import pod_template
from ktpy.daemon.background import perform
from ktpy.daemon.caller import Caller
from ktpy.daemon.privileged import launch_helper, may_ask_for_password
from ktpy.daemon.runtime import CONNECT
from ktpy.observe.events import Ended, Event, Report
from ktpy.sessions.options import ConnectOptions, refusal_of_include, refusal_of_zone


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


def _zones(_context: click.Context, _parameter: click.Parameter, zones: tuple[str, ...]) -> tuple[str, ...]:
    for zone in zones:
        if refusal := refusal_of_zone(zone):
            raise click.BadParameter(refusal)
    return zones


@click.command(short_help="Reach the cluster's addresses and names from here")
@cluster(namespace="Namespace of the shadow pod and of short names.")
@click.option(
    "--detach", "-d", is_flag=True, envvar="KTPY_DETACH", help="Return when ready; `ktpy quit` ends the session."
)
@click.option(
    "--include",
    cls=Repeatable,
    type=_Included(),
    multiple=True,
    envvar="KTPY_INCLUDE",
    metavar="RANGE",
    help="Route this range as well, also where it overlaps a local one.",
)
@click.option(
    "--exclude",
    cls=Repeatable,
    type=_Network(),
    multiple=True,
    envvar="KTPY_EXCLUDE",
    metavar="RANGE",
    help="Never route this range.",
)
@click.option("--no-pods", is_flag=True, envvar="KTPY_NO_PODS", help="Route services only.")
@click.option("--no-dns", is_flag=True, envvar="KTPY_NO_DNS", help="Leave the system's resolver alone.")
@click.option(
    "--no-reconnect", is_flag=True, envvar="KTPY_NO_RECONNECT", help="End when the link is lost, with code 40."
)
@click.option(
    "--dns-zone",
    "dns_zones",
    cls=Repeatable,
    callback=_zones,
    multiple=True,
    envvar="KTPY_DNS_ZONE",
    metavar="ZONE",
    help="Also ask the cluster's DNS about names under this zone.",
)
@output
@verbose
@image
@pod_template
@pod_timeout
def connect(
    no_pods: bool, no_dns: bool, no_reconnect: bool, pod_timeout: float, detach: bool, output: str, **options: Any
) -> None:
    """Reach every pod IP, service IP and cluster DNS name from every program on this laptop.

    \b
    sudo ktpy connect -n shop
    curl http://web/            # in another terminal
    """
    wanted = ConnectOptions(
        pods=not no_pods, dns=not no_dns, reconnect=not no_reconnect, pod_timeout_s=pod_timeout, **options
    )
    caller = Caller.current()

    def work(report: Report) -> int:
        from ktpy.sessions.connect import run  # the heavy half of ktpy: not before it is needed

        return run(wanted, helper, caller, report)

    def show(event: Event) -> None:
        if output == "json":
            render.event_json(event)
        else:
            render.event(event, farewell=f"{'`ktpy quit`' if detach else 'Ctrl-C'} ends it and undoes everything.")

    if may_ask_for_password():
        from ktpy.sessions.running import needless

        if (sentence := needless(wanted, caller)) is not None:
            show(Ended(0, sentence))
            return
    helper = launch_helper(caller, render.on_standard_error)
    sys.exit(perform(work, show, caller, CONNECT if detach else None))
