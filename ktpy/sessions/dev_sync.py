"""A folder of the laptop, and one of a dev container, that are kept alike while a session stands."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.errors import LinkLost, SyncFailed
from ktpy.link.ssh_library import asyncssh
from ktpy.link.ssh_packets import ProgramInput
from ktpy.link.uplink import Uplink, refusal_of
from ktpy.observe.events import Notice, Report
from ktpy.sessions.options import SyncFolder
from ktpy.sync.engine import Synchronizer, synced
from ktpy.sync.events import ConflictKept, SyncEvent
from ktpy.sync.options import Initial, SyncOptions
from ktpy.wire.session import AgentHello
from ktpy.wire.sync import frames

REASON_S = 2.0
"""The agent's exit status comes so soon after the end of what it says."""
PAUSE_S = 1.0
"""Between two channels: the link is dialled meanwhile."""


@asynccontextmanager
async def synced_folder(
    uplink: Uplink[AgentHello], folder: SyncFolder, report: Report, begun: Callable[[Synchronizer], None]
) -> AsyncIterator["asyncio.Task[None]"]:
    """Keep the folders alike while the block runs, which begins once they are; the task ends when they are no more.

    `begun` gets what keeps them so, at once. They go on over the next link when one is lost. Raises SyncFailed, and
    ConnectionAbortedError when there will be none.
    """

    def tell(event: SyncEvent) -> None:
        match event:
            case ConflictKept(path, copy):
                report(Notice(f"{path} was changed on both sides: the container's version is kept as {copy}."))
            case _:
                report(Notice(f"sync: {getattr(event, 'path', '')} {event.text}".replace("  ", " ")))

    initial = Initial(folder.initial or Initial.BOTH)
    options = SyncOptions(folder.is_two_way, initial, folder.is_delete_protected, folder.ignore)
    async with (
        synced(Path(folder.local), options, tell) as sync,
        background_task(_keep(sync, uplink, folder.remote), "synchronize") as syncing,
    ):
        begun(sync)
        async with background_task(sync.in_step(), "first synchronization") as first:
            if await first_of(first, syncing) is syncing:
                syncing.result()
        yield syncing


async def _keep(sync: Synchronizer, uplink: Uplink[AgentHello], remote: str) -> None:
    """Synchronize over one channel after the other. Raises SyncFailed, and ConnectionAbortedError at the end."""
    while True:
        try:
            async with uplink.process(frames.COMMAND + remote) as process:
                await _keep_over(sync, process, remote)
        except LinkLost:
            await asyncio.sleep(PAUSE_S)


async def _keep_over(sync: Synchronizer, process: "asyncssh.SSHClientProcess[bytes]", remote: str) -> None:
    """Synchronize until the channel ends. Raises LinkLost, SyncFailed with the agent's own words where it gives up."""
    try:
        await sync.run(process.stdout, ProgramInput(process))
    except LinkLost:
        if (why := await refusal_of(process, REASON_S)) is None:
            raise
        why = why.removeprefix("ktpy-agent: ") or "the agent has failed"
        raise SyncFailed(
            f"The container's folder {remote} cannot be synchronized: {why}.",
            hint="`--sync DIR:FOLDER` names one that the container's user may write.",
        ) from None
