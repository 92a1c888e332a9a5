"""`ktpy preview` makes a new service in the cluster, served by this laptop."""

import re
from typing import Any

import click

from ktpy.cli.intercept_options import InterceptCommand, expose, intercepting, perform


@click.command(cls=InterceptCommand)
@click.argument("name")
@expose
@click.option(
    "--ingress", "ingress_host", envvar="KTPY_INGRESS", metavar="HOST", help="Also make an Ingress for this host."
)
@click.option(
    "--ingress-class", envvar="KTPY_INGRESS_CLASS", metavar="NAME", help="Its class; the cluster's default one else."
)
@click.option(
    "--gateway-route",
    "gateway_route_host",
    envvar="KTPY_GATEWAY_ROUTE",
    metavar="HOST",
    help="Also make an HTTPRoute for this host (Gateway API).",
)
@click.option(
    "--gateway",
    envvar="KTPY_GATEWAY",
    metavar="[NAMESPACE/]NAME",
    help="Its Gateway; the only one that takes the route else.",
)
@intercepting
@click.pass_context
def preview(ctx: click.Context, /, name: str, **options: Any) -> None:
    """Make a service NAME in the cluster that this laptop serves, until Ctrl-C.

    REMOTE of --expose is the number of the new service's port, and the local one without it.

    \b
    ktpy preview pay --expose 3001:8080
    """
    for server, host, problem in (
        ("ingress_class", "ingress_host", "--ingress-class goes with --ingress HOST."),
        ("gateway", "gateway_route_host", "--gateway goes with --gateway-route HOST."),
    ):
        # A default, from the environment or a file, is for the previews that have a host.
        if ctx.get_parameter_source(server) is click.core.ParameterSource.COMMANDLINE and options[host] is None:
            raise click.UsageError(problem)
    if not re.fullmatch(r"([a-z0-9-]+/)?[a-z0-9.-]+", options["gateway"] or "edge"):
        raise click.UsageError(f"--gateway is [NAMESPACE/]NAME; {options['gateway']!r} is not.")
    perform("preview", target=name, **options)
