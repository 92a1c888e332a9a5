"""Ports of the laptop that lead into a dev container while a session stands, and ports there that lead back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from ktpy.capture.spec import LOOPBACK
from ktpy.link.splice import Accepted
from ktpy.sessions.dev_link import dial
from ktpy.sessions.options import Publish, listen_for

if TYPE_CHECKING:
    from ktpy.link.keeper import Keeper
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello

P = TypeVar("P", bound=asyncio.Protocol)
Listening = Sequence[tuple[int, socket.socket]]
"""Ports of the dev container, each with the laptop's listener that leads there."""


@contextmanager
def listening(forward: Iterable[Publish], option: str = "--forward") -> Iterator[Listening]:
    """Listen for what `option` names on the laptop's loopback while the block runs. Raises LocalPortTaken."""
    with ExitStack() as open_:
        yield [(one.port, open_.enter_context(listen_for(one, option))) for one in forward]


@asynccontextmanager
async def forwarded(listeners: Listening, uplink: "Uplink[AgentHello] | Keeper") -> AsyncIterator[list[str]]:
    """Lead what comes to the listeners into the container while the block runs; yield a line for each.

    A connection that comes while the link is lost waits for the next; one that is open goes on over it by a Keeper.
    """

    async def serve(port: int, listener: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(
            lambda: Accepted(lambda make: dial(uplink, make, port)), sock=listener
        )

    async with AsyncExitStack() as servers:
        for port, listener in listeners:
            servers.callback((await serve(port, listener)).close)
        yield [f"{LOOPBACK}:{one.getsockname()[1]} is port {port} of the dev container" for port, one in listeners]
