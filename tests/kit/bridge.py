"""A port that leads to a local port as the forward of a gateway's pod does, without the pod."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ktpy.aio.background_task import background_task
from ktpy.link.forwards import PodEnd
from ktpy.link.splice import End
from ktpy.serve.local_port import LocalPort


@asynccontextmanager
async def bridged(local: LocalPort) -> AsyncIterator[int]:
    """Yield the port of 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with background_task(_accept(listener, local), "bridge"):
            yield int(listener.getsockname()[1])


async def _accept(listener: socket.socket, local: LocalPort) -> None:
    loop = asyncio.get_running_loop()
    while True:
        accepted, _ = await loop.sock_accept(listener)
        try:
            _, end = await local.connect(End)
        except OSError:
            accepted.close()
            continue
        await loop.connect_accepted_socket(lambda end=end: PodEnd(end, local.taps), accepted)  # type: ignore[misc]
