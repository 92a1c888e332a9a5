"""The claims of a workload's pod, kept alike with the folders that a program has in their place."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.cluster.pods.volumes import PodMount
from ktpy.errors import LinkLost, PodFailed, SyncFailed
from ktpy.link.uplink import refusal_of
from ktpy.observe.events import Notice, Report
from ktpy.sync.engine import Synchronizer, synced
from ktpy.sync.events import ConflictKept, SyncEvent
from ktpy.sync.options import SyncOptions
from ktpy.wire.files import CLAIM_COMMAND

if TYPE_CHECKING:
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

PAUSE_S: Final = 1.0
"""Between two channels: the link is dialled meanwhile."""
PATIENCE_S: Final = 10.0
"""How long nothing may go over to a claim at the end before what is left is given up."""
_PATTERN: Final = re.compile(r"([\\*?\[\]])")


@asynccontextmanager
async def live_claims(
    uplink: "Uplink[AgentHello]", mounts: Sequence[PodMount], root: Path, report: Report
) -> AsyncIterator[list[PodMount]]:
    """Have each live claim at its path below `root` when the block begins, and keep both alike while it runs.

    What was written last is carried over before it ends. Yields those mounts. Raises PodFailed for a claim that cannot
    be kept alike from the start.
    """
    live = [one for one in mounts if one.is_live]
    async with AsyncExitStack() as kept:
        for one in live:
            await kept.enter_async_context(_live(uplink, one, root, _inner(one, mounts), report))
        yield live


def _inner(mount: PodMount, mounts: Sequence[PodMount]) -> tuple[str, ...]:
    """Return what is to be ignored in a mount, as in .gitignore: it belongs to others."""
    prefix = f"{mount.path}/"
    paths = [one.path.removeprefix(prefix) for one in mounts if one.path.startswith(prefix)]
    return tuple("/" + _PATTERN.sub(r"\\\1", path) for path in paths)


@asynccontextmanager
async def _live(
    uplink: "Uplink[AgentHello]", mount: PodMount, root: Path, ignore: tuple[str, ...], report: Report
) -> AsyncIterator[None]:
    def tell(event: SyncEvent) -> None:
        match event:
            case ConflictKept(path, copy):
                report(Notice(f"{mount.path}/{path} was changed in claim {mount.claim}, too: that is kept as {copy}."))
            case _:
                path = getattr(event, "path", "")
                report(Notice(f"{mount.path}{'/' if path else ''}{path} (claim {mount.claim}): {event.text}"))

    folder = root / mount.path.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    async with (
        synced(folder, SyncOptions(ignore=ignore), tell) as sync,
        background_task(_keep(uplink, sync, mount), "keep a claim alike") as keeping,
    ):
        async with background_task(sync.in_step(), "wait for a claim's files") as first:
            if await first_of(first, keeping) is keeping:
                keeping.result()
        if sync.has_failed:
            raise _refusal(mount, sync.status.last_error or "")
        keeping.add_done_callback(lambda task: _tell_end(task, mount, report))
        try:
            yield
        finally:
            if not keeping.done():
                await _carry_over(sync, mount, report)


async def _keep(uplink: "Uplink[AgentHello]", sync: Synchronizer, mount: PodMount) -> None:
    """Synchronize over one channel after another. Raises PodFailed."""
    while True:
        try:
            async with uplink.process(CLAIM_COMMAND + mount.path) as process:
                try:
                    await sync.run(process.stdout, process.stdin)
                except LinkLost:
                    if (why := await refusal_of(process, PAUSE_S)) is not None:
                        raise _refusal(mount, why) from None
                    raise
        except SyncFailed as error:
            raise _refusal(mount, str(error)) from error
        except LinkLost:
            await asyncio.sleep(PAUSE_S)


def _tell_end(keeping: "asyncio.Task[None]", mount: PodMount, report: Report) -> None:
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        report(Notice(f"{mount.path} is a copy from now on: {error}"))


async def _carry_over(sync: Synchronizer, mount: PodMount, report: Report) -> None:
    """Let what the program wrote last arrive, as long as something does."""
    sent_bytes = -1
    while (now := sync.status.sent_bytes) != sent_bytes:
        sent_bytes = now
        try:
            async with asyncio.timeout(PATIENCE_S):
                await sync.catch_up()
        except TimeoutError:
            continue
        if sync.has_failed:
            report(Notice(f"Not all of {mount.path} is in claim {mount.claim}: {sync.status.last_error}"))
        return
    report(Notice(f"What was written to {mount.path} last has not arrived in claim {mount.claim}."))


def _refusal(mount: PodMount, why: str) -> PodFailed:
    return PodFailed(
        f"Claim {mount.claim} at {mount.path} cannot be kept alike here: {why.removesuffix('.')}.",
        hint="--volumes copy gives a copy of it, --volumes none leaves it out.",
    )
