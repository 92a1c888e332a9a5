"""Undoing in clusters what this user's killed intercepts have left there.

Nobody waits for their Leases to expire, as other users have to: the records on this laptop tell that they are dead.
"""

from pathlib import Path

from ktpy.cluster.changes.registry import kind_of
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.steps import run_steps
from ktpy.daemon.records import Record, Records
from ktpy.errors import KtpyError
from ktpy.kube.client import Api
from ktpy.observe.events import Notice, Report


async def undo_killed(api: Api, records: Records, report: Report) -> None:
    """Take this user's killed sessions out of the cluster of `api`, and say so.

    A record whose undoing fails is kept for the next command, and the user is told why. One that cannot be read hides
    no other, and is told, too.
    """
    for path in records.put_aside():
        report(Notice(describe_unreadable(path)))
    with records.stale() as stale:
        for record in stale:
            if record.server != api.target.server:
                continue
            try:
                await _undo(api, record)
            except KtpyError as error:
                report(Notice(f"{describe(record)} could not be undone yet: {error.message}"))
            else:
                records.forget(record)
                report(Notice(f"{describe(record)} is undone."))


def describe(record: Record) -> str:
    """Return the beginning of a sentence about a killed session."""
    return f"An earlier ktpy was killed: its {record.kind} of {record.target} in namespace {record.namespace}"


def describe_unreadable(path: Path) -> str:
    """Return a sentence about a record that was put aside."""
    return (
        f"A record of an earlier intercept cannot be read, and was put aside as {path}; if anything of that is left in"
        " its cluster, `ktpy clean` removes it once it was not heard from for a minute."
    )


async def _undo(api: Api, record: Record) -> None:
    if record.kind == "dev":
        from ktpy.cluster.changes import dev_found  # an intercept need not wait for what is seldom undone
        from ktpy.cluster.changes.dev import removal

        for session in await dev_found.find(api, record.namespace):
            if session.id == record.session:
                await run_steps(removal(api, session.trace))
        return
    interceptee = Interceptee(record.namespace, record.target)
    await run_steps(kind_of(record.kind).removal(api, interceptee, {record.session}))
