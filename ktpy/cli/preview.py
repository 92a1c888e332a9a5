"""`ktpy preview` makes a new service in the cluster, served by this laptop."""

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
@intercepting
def preview(name: str, ingress_host: str | None, ingress_class: str | None, **options: Any) -> None:
    """Make a service NAME in the cluster that this laptop serves, until Ctrl-C.

    REMOTE of --expose is the number of the new service's port, and the local one without it.

    \b
    ktpy preview pay --expose 3001:8080
    """
    if ingress_class is not None and ingress_host is None:
        raise click.UsageError("--ingress-class goes with --ingress HOST.")
    perform("preview", target=name, ingress_host=ingress_host, ingress_class=ingress_class, **options)
