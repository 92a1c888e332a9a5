"""Undoing in clusters what this user's killed intercepts have left there.

It need not wait until their Leases expire, as others have to: their records tell that they are dead.
"""

from ktpy.cluster.api.client import Api
from ktpy.cluster.intercept import preview
from ktpy.cluster.intercept.leaving import Leaving
from ktpy.cluster.steps import walk
from ktpy.errors import KtpyError
from ktpy.session.progress import Notice, Report
from ktpy.session.records import Record, Records


async def undo_killed(api: Api, records: Records, report: Report) -> None:
    """Take this user's killed sessions out of the cluster of `api`, and say so. What fails is told, and kept."""
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
    """The beginning of a sentence."""
    return f"An earlier ktpy was killed: its {record.kind} of {record.target} in namespace {record.namespace}"


async def _undo(api: Api, record: Record) -> None:
    if record.kind == "preview":
        await walk(preview.removal(api, record.namespace, record.target, record.session))
    else:
        await walk(Leaving(api, record.namespace, record.target, {record.session}).steps_for_known)
