"""This module undoes what a killed run left on this laptop."""

import asyncio

from ktpy.helper.client import HelperClient
from ktpy.helper.launch import LaunchedHelper
from ktpy.helper.protocol import Undone


def recover(helper: LaunchedHelper) -> tuple[Undone, ...]:
    """Have the helper replay every stale journal. Raises PrivilegeMissing where sudo refuses, and HelperFailed."""

    async def ask() -> tuple[Undone, ...]:
        async with await HelperClient.start(helper) as client:
            return await client.recover()

    return asyncio.run(ask())


def describe(report: Undone, what: str) -> str:
    """Return one sentence about what was undone."""
    parts = [f"undone: {', '.join(report.undone)}"] if report.undone else []
    parts += [f"left, as somebody else changed it: {', '.join(report.left)}"] if report.left else []
    parts += [f"failed: {', '.join(report.failures)}"] if report.failures else []
    return f"{what}: {'; '.join(parts) or 'there was nothing left to undo'}."
