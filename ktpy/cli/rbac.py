"""`ktpy rbac` prints the rights that ktpy needs, for an administrator to apply."""

import click

from ktpy.cli import render
from ktpy.cli.complete import namespace_names
from ktpy.cli.options import verbose
from ktpy.daemon.caller import Caller


@click.command()
@click.argument("namespace", shell_complete=namespace_names)
@click.argument("user", required=False)
@click.option("--via-node", is_flag=True, help="Also that of creating services, for connect and run --via node.")
@click.option("--intercept", is_flag=True, help="Also those of exchange, mesh, preview, tap and what belongs to them.")
@click.option("--move-clients", is_flag=True, help="Also that of evicting pods, for --move-clients of those.")
@click.option("--run", is_flag=True, help="Also those of env, and of run with a workload.")
@click.option("--from-pod", is_flag=True, help="Also that of exec, for --from-pod of those.")
@click.option("--dev", is_flag=True, help="Also those of dev.")
@verbose
def rbac(
    namespace: str,
    user: str | None,
    intercept: bool,
    move_clients: bool,
    run: bool,
    from_pod: bool,
    **others: bool,
) -> None:
    """Print Roles and bindings with all rights that USER (default: you, as the cluster knows you) needs in NAMESPACE.

    \b
    ktpy rbac shop alice --intercept | kubectl apply -f -
    """
    from ktpy.sessions import once  # brings asyncio, which `ktpy --help` need not wait for

    Caller.become()
    intercept |= move_clients
    run |= from_pod
    of_run = {"run": run, "from_pod": from_pod}
    manifest = once.rights(namespace, user, intercept=intercept, move_clients=move_clients, **of_run, **others)
    render.say(*manifest.splitlines())
