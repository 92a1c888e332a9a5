"""`ktpy preview` makes a new service in the cluster, served by this laptop."""

from typing import Any

import click

from ktpy.cli.intercept_options import intercepting, perform


@click.command()
@click.argument("name")
@intercepting
@click.option(
    "--ingress", "ingress_host", envvar="KTPY_INGRESS", metavar="HOST", help="Also make an Ingress for this host."
)
@click.option("--ingress-class", envvar="KTPY_INGRESS_CLASS", help="Its class; the cluster's default one else.")
def preview(name: str, ingress_host: str | None, ingress_class: str | None, **options: Any) -> None:
    """Make a service NAME in the cluster that this laptop serves, until Ctrl-C.

    REMOTE of --expose is the number of the new service's port, and the local one without it.
    """
    if ingress_class is not None and ingress_host is None:
        raise click.UsageError("--ingress-class goes with --ingress HOST.")
    perform("preview", target=name, ingress_host=ingress_host, ingress_class=ingress_class, **options)
