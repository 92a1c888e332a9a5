"""`ktpy leave` ends what `exchange`, `mesh` or `preview` began."""

from pathlib import Path

import click

from ktpy.cli.options import verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import INTERCEPT, RuntimeDirectory
from ktpy.errors import InterceptAbsent
from ktpy.observe.status import InterceptStatus


@click.command()
@click.argument("target", required=False)
@click.option("--all", "-a", "every", is_flag=True, help="Leave everything.")
@click.option("--namespace", "-n", envvar="KTPY_NAMESPACE", help="Only in this namespace.")
@verbose
def leave(target: str | None, every: bool, namespace: str | None) -> None:
    """End your exchange, mesh or preview of TARGET, and wait until all of it is undone.

    TARGET is the service's name, what you named to intercept it, or a session's id. Of several there, all are ended.
    """
    if (target is None) is not every:
        raise click.UsageError("Name a TARGET, or say --all.")
    runtime = RuntimeDirectory.of(Caller.current())
    asked = [(path, control_client.ask_status(path)) for path in runtime.control_sockets(INTERCEPT)]
    found = [(path, status) for path, status in asked if isinstance(status, InterceptStatus)]
    chosen = [
        (path, status)
        for path, status in found
        if (every or target in (status.target, status.reference, status.session))
        and namespace in (None, status.namespace)
    ]
    if not chosen:
        present = ", ".join(sorted({status.target for _, status in found}))
        raise InterceptAbsent(
            f"You have no intercept of {target} on this laptop." if target else "You have no intercept on this laptop.",
            hint=f"You have: {present}." if present else None,
        )
    for path, status in chosen:
        _leave(path, status.kind, status.target)


def _leave(path: Path, kind: str, target: str) -> None:
    control_client.quit_session(path, control_client.LEAVE_TIMEOUT_S)
    click.echo(f"Left: {kind} of {target}.")
