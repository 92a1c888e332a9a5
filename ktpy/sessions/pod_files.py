"""The files of a workload's pod, shown to a program at the pod's own paths, and kept as they are there."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.capture.namespace.pod_files import PodFiles
from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.errors import LinkLost, PodFailed
from ktpy.helper.private.messages import Place
from ktpy.observe.events import Notice, Report
from ktpy.wire.files import COMMAND

if TYPE_CHECKING:
    from ktpy.helper.private.client import PrivateHelperClient
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

_ESSENTIAL: Final = tuple(map(Path, ("/bin", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr")))
PAUSE_S: Final = 1.0
"""Between two attempts to follow the files: the link is dialled meanwhile."""


@asynccontextmanager
async def kept_files(
    uplink: "Uplink[AgentHello]", mounts: Sequence[PodMount], root: Path, report: Report, room: str = ""
) -> AsyncIterator[PodFiles]:
    """Have the files below `root` when the block begins, and follow their changes while it runs.

    Raises PodFailed for files that cannot be kept; `room` says how much there is.
    """
    files, complete = PodFiles(root, mounts), asyncio.Event()
    async with background_task(_follow(uplink, files, complete, room), "follow the pod's files") as following:
        async with background_task(complete.wait(), "wait for the pod's files") as arriving:
            if await first_of(following, arriving) is following:
                following.result()
        async with AsyncExitStack() as alike:
            if any(one.is_live for one in mounts):
                from ktpy.sessions.live_claims import live_claims  # brings the engine, which others need not wait for

                live = await alike.enter_async_context(live_claims(uplink, mounts, root, report))
                files.arrived |= {one.path: one.read_only for one in live}
            yield files


@asynccontextmanager
async def shown_files(
    uplink: "Uplink[AgentHello]",
    mounts: Sequence[PodMount],
    helper: "PrivateHelperClient",
    program: str,
    report: Report,
) -> AsyncIterator[None]:
    """Show the files to the program, and follow their changes while the block runs; tell what is not shown.

    They are in memory, in the program's mounts alone, so nothing is left when either is killed. Raises PodFailed for
    files that cannot be kept, and HelperFailed.
    """
    folder = await helper.open_folder()
    room = "Half of this machine's memory is for them. "
    try:
        async with AsyncExitStack() as shown:
            fuse = await shown.enter_async_context(_mounted(uplink, mounts, helper))
            of_others = [replace(one, is_live=one.is_live and one.path not in fuse) for one in mounts]
            root = Path(f"/proc/self/fd/{folder}")
            files = await shown.enter_async_context(kept_files(uplink, of_others, root, report, room))
            files.arrived |= {one.path: one.read_only for one in mounts if one.path in fuse}
            hiding = {path: needed_below(path, program) for path in files.arrived}
            places = [Place(path, files.arrived[path], fuse.get(path)) for path in sorted(hiding) if not hiding[path]]
            told = [
                f"{path} is left out: it would hide {hidden} of this laptop from the program."
                for path, hidden in sorted(hiding.items())
                if hidden
            ]
            for sentence in [*told, *await helper.show(places), *remarks(mounts, files)]:
                report(Notice(sentence))
            yield
    finally:
        os.close(folder)


@asynccontextmanager
async def _mounted(
    uplink: "Uplink[AgentHello]", mounts: Sequence[PodMount], helper: "PrivateHelperClient"
) -> AsyncIterator[dict[str, int]]:
    if not any(one.is_live for one in mounts):
        yield {}
        return
    from ktpy.sessions.mounted_claims import mounted_claims  # others need not wait for it

    async with mounted_claims(uplink, mounts, helper) as fuse:
        yield fuse


async def _follow(uplink: "Uplink[AgentHello]", files: PodFiles, complete: asyncio.Event, room: str) -> None:
    """Write what comes, anew from each connection to the pod."""
    while True:
        files.begin()
        try:
            async for part in uplink.output_of(COMMAND):
                _take(files, part, complete, room)
        except LinkLost:
            pass
        await asyncio.sleep(PAUSE_S)


def _take(files: PodFiles, part: bytes, complete: asyncio.Event, room: str) -> None:
    try:
        if files.take(part):
            complete.set()
    except (ValueError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise PodFailed(
            f"The files of the workload's pod cannot be kept here: {why}.",
            hint=f"{room}--volumes none leaves those of claims out.",
        ) from error


def needed_below(path: str, program: str) -> str | None:
    """Return what of this laptop a program of this name needs, and would not see with the pod's folder at the path."""
    needed = [*_ESSENTIAL, Path.home(), *([Path(found)] if (found := shutil.which(program)) else [])]
    with suppress(FileNotFoundError):  # which is told when the program is started
        needed.append(Path.cwd())
    hidden = Path(path).resolve()
    return next((str(one) for one in needed if one.resolve().is_relative_to(hidden)), None)


def remarks(mounts: Sequence[PodMount], files: PodFiles) -> list[str]:
    """Say what is not as in the workload's own pod."""
    remarks = []
    for one in mounts:
        if one.kind is VolumeKind.OTHER:
            remarks.append(f"{one.path} is left out: Pod Security does not let ktpy's pod have volumes of its kind.")
        elif one.kind is VolumeKind.KUBELET and one.path not in files.arrived:
            remarks.append(f"{one.path} has not come from the pod: its agent finds no such mount.")
        elif one.kind is VolumeKind.CLAIM and not one.is_live and one.path in files.arrived:
            remarks.append(f"{one.path} is a copy of claim {one.claim}: what the program writes there goes with it.")
    return remarks
