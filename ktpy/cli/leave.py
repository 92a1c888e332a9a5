"""`ktpy leave` ends what `exchange`, `mesh`, `preview`, `tap` or `forward` began."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import click

from ktpy.cli import render
from ktpy.cli.complete import namespace_names, session_names
from ktpy.cli.intercept_options import target_reference
from ktpy.cli.options import output, verbose
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.logs import log_name
from ktpy.daemon.runtime import FORWARD, INTERCEPT, RuntimeDirectory
from ktpy.errors import InterceptAbsent
from ktpy.observe.status import ClusterStatus, InterceptStatus


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=session_names)
@click.option("--all", "-a", "every", is_flag=True, help="Leave everything.")
@click.option(
    "--namespace",
    "-n",
    envvar="KTPY_NAMESPACE",
    metavar="NAME",
    shell_complete=namespace_names,
    help="Only in this namespace.",
)
@output
@verbose
def leave(targets: tuple[str, ...], every: bool, namespace: str | None, output: str) -> None:
    """End your exchange, mesh, preview, tap or forward of each TARGET, and wait until all of it is undone.

    TARGET is the service (web, svc/web, web.shop), what you named to intercept or forward it, a session's id, or the
    name of its log (forward-web). Of several there, all are ended. Without a TARGET, the only one there is.

    \b
    ktpy leave web
    ktpy leave --all
    """
    if targets and every:
        raise click.UsageError("Name a TARGET, or say --all.")
    runtime = RuntimeDirectory.of(Caller.become())
    paths = [path for kind in (INTERCEPT, FORWARD) for path in runtime.control_sockets(kind)]
    answered, silent = control_client.ask_each(paths)
    found = cast(list[tuple[Path, ClusterStatus]], list(answered.items()))
    here = [(path, status) for path, status in found if namespace in (None, status.namespace)]
    if not (targets or every) and len(here) > 1:
        raise click.UsageError(f"Name a TARGET, or say --all. You have: {_names(status for _, status in here)}.")
    absent = [f" of {one}" for one in targets if not any(is_meant(one, status) for _, status in here)]
    if absent or not (here or every):
        hint = f"You have: {_names(status for _, status in found)}." if found else None
        what = absent[0] if absent else ""
        control_client.refuse_silent(silent)
        raise InterceptAbsent(f"You have no intercept or forward{what} on this laptop.", hint=hint)
    chosen = [one for one in here if not targets or any(is_meant(target, one[1]) for target in targets)]
    for path, status in chosen:
        render.say(f"Leaving: {status.kind} of {_target(status)} ...", err=True)
        control_client.quit_session(path, control_client.LEAVE_TIMEOUT_S)
        if output == "text":
            render.say(f"Left: {status.kind} of {_target(status)}.")
    if output == "json":
        render.say_json({"left": [_left(status) for _, status in chosen]})
    elif not chosen and not silent:
        render.say("You have no intercept or forward on this laptop: there is nothing to leave.")
    if not targets:
        control_client.refuse_silent(silent)


def is_meant(target: str, status: ClusterStatus) -> bool:
    """Return whether `target`, as a user types it, names this intercept or forward."""
    service, session = (status.target, status.session) if isinstance(status, InterceptStatus) else (None, None)
    if target in (status.reference, log_name(status), service, session):
        return True
    wanted = target_reference(target)
    if status.reference is None or wanted.namespace not in (None, status.namespace):
        return False
    if service is not None and wanted.kind == "service":
        return wanted.name == service
    return status.kind != "preview" and replace(wanted, namespace=None) == target_reference(status.reference)


def _left(status: ClusterStatus) -> dict[str, str | None]:
    session = status.session if isinstance(status, InterceptStatus) else None
    place = {"namespace": status.namespace, "context": status.context}
    return {"kind": status.kind, "target": _target(status), **place, "session": session}


def _target(status: ClusterStatus) -> str:
    return status.target if isinstance(status, InterceptStatus) else status.reference or "all services"


def _names(statuses: Iterable[ClusterStatus]) -> str:
    return ", ".join(sorted({_target(status) for status in statuses}))
