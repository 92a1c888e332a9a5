"""`ktpy clean` undoes what killed runs left, on this laptop and in the cluster."""

from typing import Any

import click

from ktpy.cli import render
from ktpy.cli.options import cluster, verbose
from ktpy.daemon import privileged
from ktpy.daemon.caller import Caller
from ktpy.errors import KubeconfigMissing


@click.command()
@click.option("--dry-run", is_flag=True, envvar="KTPY_DRY_RUN", help="Only say what would go.")
@click.option("--all-namespaces", "-A", is_flag=True, help="Look in every namespace of the cluster.")
@cluster(namespace="Namespace to clean in the cluster.")
@verbose
def clean(dry_run: bool, all_namespaces: bool, **place: Any) -> None:
    """Undo what killed runs left: resolver, routes and links of this laptop, and intercepts in the cluster.

    Of this laptop's intercepts, those whose process is gone; of others', those that have not been heard from for a
    minute. Nothing that is alive is touched. Only the laptop's part needs root, and only when there is something.

    \b
    ktpy clean --dry-run
    """
    caller = Caller.current()
    is_anything_there = _clean_laptop(dry_run=dry_run)
    caller.drop_privileges()
    is_anything_there |= _clean_cluster(caller, place, dry_run=dry_run, all_namespaces=all_namespaces)
    if not is_anything_there:
        render.say("Nothing to clean.")


def _clean_laptop(*, dry_run: bool) -> bool:
    if not dry_run:
        return privileged.undo_stale_journals(render.say)
    stale = privileged.stale_journals()
    for summary in (summary for left in stale for summary in left.pending):
        render.say(f"would undo on this laptop: {summary}")
    return bool(stale)


def _clean_cluster(caller: Caller, options: dict[str, Any], *, dry_run: bool, all_namespaces: bool) -> bool:
    from ktpy.daemon.records import Records
    from ktpy.sessions import once
    from ktpy.sessions.undo_killed import describe

    records, place = Records.of(caller), once.ClusterRef(**options)
    with records.stale() as stale:
        own = list(stale)
    if dry_run:
        for record in own:
            render.say(f"would be undone. {describe(record)}.")
    else:
        for server in {record.server: record for record in own}.values():
            once.undo_record(server, records, render.event)
    try:
        return _clean_others(place, dry_run=dry_run, all_namespaces=all_namespaces) or bool(own)
    except KubeconfigMissing as error:
        render.say(f"No cluster was looked at: {error.message}", err=True)
        return bool(own)


def _clean_others(place: Any, *, dry_run: bool, all_namespaces: bool) -> bool:
    from ktpy.sessions import once

    found, failures = once.sweep_dead(place, all_namespaces=all_namespaces, dry_run=dry_run)
    for one in found:
        render.say(f"{'would remove' if dry_run else 'removed'} {one.kind} {one.namespace}/{one.name}: {one.reason}")
    if failures:
        raise failures[0]
    return bool(found)
