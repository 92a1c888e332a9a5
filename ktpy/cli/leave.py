"""`ktpy leave` ends what `exchange`, `mesh` or `preview` began."""

from collections.abc import Iterable

import click

from ktpy.cli import render
from ktpy.cli.complete import session_names
from ktpy.cli.intercept_options import target_reference
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import INTERCEPT, RuntimeDirectory
from ktpy.errors import InterceptAbsent
from ktpy.observe.status import InterceptStatus


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=session_names)
@click.option("--all", "-a", "every", is_flag=True, help="Leave everything.")
@click.option("--namespace", "-n", envvar="KTPY_NAMESPACE", metavar="NAME", help="Only in this namespace.")
@output
@verbose
def leave(targets: tuple[str, ...], every: bool, namespace: str | None, output: str) -> None:
    """End your exchange, mesh or preview of each TARGET, and wait until all of it is undone.

    TARGET is the service (web, svc/web, web.shop), what you named to intercept it, or a session's id. Of several there,
    all are ended. Without a TARGET, the only one there is.

    \b
    ktpy leave web
    ktpy leave --all
    """
    if targets and every:
        raise click.UsageError("Name a TARGET, or say --all.")
    runtime = RuntimeDirectory.of(Caller.become())
    asked = [(path, control_client.ask_status(path)) for path in runtime.control_sockets(INTERCEPT)]
    found = [(path, status) for path, status in asked if isinstance(status, InterceptStatus)]
    here = [(path, status) for path, status in found if namespace in (None, status.namespace)]
    if not (targets or every) and len(here) > 1:
        raise click.UsageError(f"Name a TARGET, or say --all. You have: {_names(status for _, status in here)}.")
    hint = f"You have: {_names(status for _, status in found)}." if found else None
    for target in targets:
        if not any(is_meant(target, status) for _, status in here):
            raise InterceptAbsent(f"You have no intercept of {target} on this laptop.", hint=hint)
    if not here and not every:
        raise InterceptAbsent("You have no intercept on this laptop.", hint=hint)
    chosen = [one for one in here if not targets or any(is_meant(target, one[1]) for target in targets)]
    for path, status in chosen:
        render.say(f"Leaving: {status.kind} of {status.target} ...", err=True)
        control_client.quit_session(path, control_client.LEAVE_TIMEOUT_S)
        if output == "text":
            render.say(f"Left: {status.kind} of {status.target}.")
    if output == "json":
        keys = ("kind", "target", "namespace", "context", "session")
        render.say_json({"left": [{key: getattr(status, key) for key in keys} for _, status in chosen]})
    elif not chosen:
        render.say("You have no intercept on this laptop: there is nothing to leave.")


def is_meant(target: str, status: InterceptStatus) -> bool:
    """Return whether `target`, as a user types it, names this intercept."""
    if target in (status.target, status.reference, status.session):
        return True
    reference = target_reference(target)
    if reference.kind != "service":
        return status.kind != "preview" and reference == target_reference(status.reference)
    return reference.name == status.target and reference.namespace in (None, status.namespace)


def _names(statuses: Iterable[InterceptStatus]) -> str:
    return ", ".join(sorted({status.target for status in statuses}))
