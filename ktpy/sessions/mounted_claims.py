"""The claims of a workload's pod as file systems: what a program does in them is done in the pod."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.cluster.pods.volumes import PodMount
from ktpy.errors import LinkLost, PodFailed
from ktpy.fuse.server import FuseServer
from ktpy.fuse.volume_channel import VolumeChannel
from ktpy.link.uplink import refusal_of
from ktpy.wire.volume import COMMAND

if TYPE_CHECKING:
    from ktpy.helper.private.client import PrivateHelperClient
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

PAUSE_S: Final = 1.0
"""Between two channels: the link is dialled meanwhile."""
logger = logging.getLogger(__name__)


@asynccontextmanager
async def mounted_claims(
    uplink: "Uplink[AgentHello]", mounts: Sequence[PodMount], helper: "PrivateHelperClient"
) -> AsyncIterator[dict[str, int]]:
    """Serve each live claim while the block runs; yield its number in the helper, by the path of its mount.

    There are none where this machine mounts no file system for a user, or the agent is of a version that serves none.
    Raises PodFailed for a claim that it cannot serve, and HelperFailed.
    """
    live = [one for one in mounts if one.is_live]
    if not live:
        yield {}
        return
    descriptors, why_not = await helper.mount_fuse(len(live))
    async with AsyncExitStack() as served:
        try:
            volumes = [_serve(descriptor, served) for descriptor in descriptors]
            for volume, mount in zip(volumes, live, strict=False):
                await _keep_up(uplink, volume, mount, served)
        except ValueError as error:
            await served.aclose()
            why_not = f"the agent does not speak of claims as this ktpy does, {error}"
        how = "itself" if why_not is None else f"kept alike by synchronization, not as a file system: {why_not}"
        for mount in live:
            logger.info("%s is claim %s %s", mount.path, mount.claim, how)
        yield {} if why_not else {mount.path: number for number, mount in enumerate(live)}


def _serve(descriptor: int, served: AsyncExitStack) -> VolumeChannel:
    """Serve a claim on the descriptor as long as `served` stands."""
    volume = VolumeChannel()
    served.push_async_callback(FuseServer(descriptor, volume, (os.getuid(), os.getgid())).aclose)
    return volume


async def _keep_up(
    uplink: "Uplink[AgentHello]", volume: VolumeChannel, mount: PodMount, served: AsyncExitStack
) -> None:
    """Have channels to a claim as long as `served` stands, the first on return. Raises ValueError and PodFailed."""
    keeping = await served.enter_async_context(
        background_task(_keep(uplink, volume, mount), "serve a claim's file system")
    )
    async with background_task(volume.wait_up(), "wait for a claim") as first:
        if await first_of(first, keeping) is keeping:
            keeping.result()


async def _keep(uplink: "Uplink[AgentHello]", volume: VolumeChannel, mount: PodMount) -> None:
    """Ask over one channel after another. Raises PodFailed where the agent refuses the first, ValueError where it does
    not know what that is."""
    while True:
        try:
            async with uplink.process(COMMAND + mount.path) as process:
                try:
                    await volume.run(process.stdout, process.stdin)
                except LinkLost:
                    if not volume.epoch and (why := await refusal_of(process, PAUSE_S)) is not None:
                        raise _refusal(mount, why) from None
                    raise
        except (LinkLost, ValueError) as error:
            if isinstance(error, ValueError) and not volume.epoch:
                raise
            await asyncio.sleep(PAUSE_S)


def _refusal(mount: PodMount, why: str) -> PodFailed:
    return PodFailed(
        f"Claim {mount.claim} at {mount.path} cannot be served here: {why.removesuffix('.')}.",
        hint="--volumes copy gives a copy of it, --volumes none leaves it out.",
    )
