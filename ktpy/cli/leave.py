"""`ktpy leave` ends what `exchange`, `mesh` or `preview` began."""

from collections.abc import Iterable
from pathlib import Path

import click

from ktpy.cli.intercept_options import target_reference
from ktpy.cli.options import verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import INTERCEPT, RuntimeDirectory
from ktpy.errors import InterceptAbsent
from ktpy.observe.status import InterceptStatus


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option("--all", "-a", "every", is_flag=True, help="Leave everything.")
@click.option("--namespace", "-n", envvar="KTPY_NAMESPACE", help="Only in this namespace.")
@verbose
def leave(targets: tuple[str, ...], every: bool, namespace: str | None) -> None:
    """End your exchange, mesh or preview of each TARGET, and wait until all of it is undone.

    TARGET is the service (web, svc/web, web.shop), what you named to intercept it, or a session's id. Of several there,
    all are ended. Without a TARGET, the only one there is.
    """
    if targets and every:
        raise click.UsageError("Name a TARGET, or say --all.")
    runtime = RuntimeDirectory.of(Caller.current())
    asked = [(path, control_client.ask_status(path)) for path in runtime.control_sockets(INTERCEPT)]
    found = [(path, status) for path, status in asked if isinstance(status, InterceptStatus)]
    here = [(path, status) for path, status in found if namespace in (None, status.namespace)]
    if not (targets or every) and len(here) > 1:
        raise click.UsageError(f"Name a TARGET, or say --all. You have: {_names(status for _, status in here)}.")
    for target in targets:
        if not any(_is_meant(target, status) for _, status in here):
            hint = f"You have: {_names(status for _, status in found)}." if found else None
            raise InterceptAbsent(f"You have no intercept of {target} on this laptop.", hint=hint)
    if not here:
        hint = f"You have: {_names(status for _, status in found)}." if found else None
        raise InterceptAbsent("You have no intercept on this laptop.", hint=hint)
    for path, status in here:
        if not targets or any(_is_meant(target, status) for target in targets):
            _leave(path, status.kind, status.target)


def _is_meant(target: str, status: InterceptStatus) -> bool:
    if target in (status.target, status.reference, status.session):
        return True
    reference = target_reference(target)
    if reference.kind != "service":
        return status.kind != "preview" and reference == target_reference(status.reference)
    return reference.name == status.target and reference.namespace in (None, status.namespace)


def _names(statuses: Iterable[InterceptStatus]) -> str:
    return ", ".join(sorted({status.target for status in statuses}))


def _leave(path: Path, kind: str, target: str) -> None:
    control_client.quit_session(path, control_client.LEAVE_TIMEOUT_S)
    click.echo(f"Left: {kind} of {target}.")
