"""`ktpy who` shows who does what in a namespace, or in the whole cluster."""

from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.complete import target_names
from ktpy.cli.options import cluster, output, verbose
from ktpy.daemon.caller import Caller


@click.command()
@click.argument("service", required=False, shell_complete=target_names)
@click.option("--all-namespaces", "-A", is_flag=True, help="Look in every namespace of the cluster.")
@cluster(namespace="Namespace to look in.")
@output
@verbose
def who(service: str | None, all_namespaces: bool, output: str, **place: Any) -> None:
    """Show who intercepts, develops or runs what, since when, and whether it is alive; with SERVICE, of that only.

    It reads only: what it may not see for want of a right is told, and the rest shown.

    \b
    ktpy who -n shop
    ktpy who web -n shop
    ktpy who -A
    """
    from ktpy.sessions import once  # brings asyncio, which `ktpy --help` need not wait for

    Caller.become()
    found, refused = once.who(once.ClusterRef(**place), service, all_namespaces=all_namespaces)
    if output == "json":
        render.say_json(found)
    elif found["sessions"]:
        where = f"namespace {found['namespace']} of {found['context']}" if found["namespace"] else found["context"]
        render.say(where, *_table(found["sessions"], is_wide=all_namespaces))
    else:
        what = f"to {service} " if service else ""
        where = f"namespace {found['namespace']} of " if found["namespace"] else ""
        nobody = "Nobody who may be seen" if refused else "Nobody"
        render.say(f"{nobody} does anything {what}in {where}{found['context']} by ktpy.")
    for failure in refused:
        render.failure(failure.message, failure.hint)


def _table(sessions: list[dict[str, Any]], *, is_wide: bool) -> list[str]:
    rows = [("NAMESPACE", "TARGET", "WHO", "SINCE", "WHAT")]
    rows += [(one["namespace"], one["target"], one["owner"], one["since"], _what(one)) for one in sessions]
    return render.table(row if is_wide else row[1:] for row in rows)


def _what(session: dict[str, Any]) -> str:
    return f"{session['description'] or session['kind']}{render.condition(session)}"
