"""`ktpy recover` gives a service back to its own pods."""

from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import service_names
from ktpy.cli.intercept_options import namespace_named, target_reference
from ktpy.cli.options import cluster, output, verbose
from ktpy.daemon.caller import Caller


@click.command()
@click.argument("service", shell_complete=service_names)
@click.option("--evict", is_flag=True, help="Also when live sessions use the service: they are taken out.")
@cluster(namespace="Namespace of the service.")
@output
@verbose
def recover(service: str, evict: bool, output: str, **place: Any) -> None:
    """Give SERVICE back to its own pods, and remove all that ktpy has put around it, when everything else is lost.

    \b
    ktpy recover web --evict
    """
    from ktpy.sessions import once  # brings asyncio, which `ktpy --help` need not wait for

    reference = target_reference(service)
    if reference.kind != "service":
        raise click.UsageError(f"{service} is no service, and only services are given back.")
    service, place["namespace"] = reference.name, namespace_named(reference, place["namespace"])
    Caller.become()
    recovered = once.recover(once.ClusterRef(**place), service, evict=evict)
    if output == "json":
        found = {"selector": dict(recovered.selector), "source": recovered.source} if recovered else None
        render.say_json({"service": service, "recovered": found})
        return
    if recovered is None:
        render.say(f"Service {service} needs nothing: ktpy has no part in it.")
        return
    selector = ",".join(f"{key}={value}" for key, value in recovered.selector.items())
    render.say(f"Service {service} selects {selector} again, as found in {recovered.source}.")
