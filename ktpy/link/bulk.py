"""Bulk of connections from inside a pod that is near goes to the agent by port-forwards of its own, without SSH.

The API server's TLS protects it as it does those of kubectl; that it may join a connection a token says, which came
over SSH. A second encryption, and sshd with it, would cost a third of the processor time.
"""

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from typing import Final, cast

from ktpy.errors import KtpyError
from ktpy.link.channel import Link
from ktpy.link.connection import OPEN_TIMEOUT_S, Connector
from ktpy.link.striped_flow import Joining, Stripe, StripedFlow
from ktpy.wire.stripes import BARE_FRAME_BYTES

MOST: Final = 8
"""So many bare channels may be open. What bulk there is beside them goes over SSH."""
AGAIN_AFTER_S: Final = 60.0
"""Where one could not be opened, as a quota or a proxy may have it."""

logger = logging.getLogger(__name__)


class BulkWay:
    """A BulkWay opens bare channels for flows that carry bulk."""

    def __init__(self, connector: Connector, link: Link) -> None:
        """`connector` leads to the agent's port. What goes over the channels is counted in `link`."""
        self._connector, self._link = connector, link
        self._channels: set[BareChannel] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed_until_s = 0.0

    def widen(self, flow: StripedFlow) -> bool:
        """Have a bare channel join a flow soon; return False where it has to do without for now."""
        loop = asyncio.get_running_loop()
        if len(self._channels) >= MOST or loop.time() < self._closed_until_s:
            return False
        task = loop.create_task(self._open(flow), name="open a bare channel")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _open(self, flow: StripedFlow) -> None:
        channel = BareChannel(self._link, self._channels.discard)
        self._channels.add(channel)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._connector.create_connection(lambda: channel, "", 0)
                await Joining(flow, channel).done
            self._link.bulk_ways += 1
        except (KtpyError, OSError, TimeoutError) as error:
            logger.debug("bulk stays on SSH: %s", error)
            channel.abort()
            if not flow.is_over:
                self._link.bulk_refused += 1
                self._closed_until_s = asyncio.get_running_loop().time() + AGAIN_AFTER_S
                flow.may_widen_again()


class BareChannel(asyncio.Protocol):
    """A BareChannel is the protocol of a port-forward, and the transport of one end of a flow, as a Channel is."""

    frame_bytes: Final = BARE_FRAME_BYTES

    def __init__(self, link: Link, on_lost: Callable[["BareChannel"], None]) -> None:
        """What it carries is counted in `link`. `on_lost` is told of its end, also where it was never opened."""
        self._link, self._on_lost = link, on_lost
        self._transport = cast(asyncio.Transport, None)  # until it is opened
        self._protocol: Joining | Stripe | None = None

    # --- the port-forward's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.views_received((data,))

    def views_received(self, views: Sequence[bytes | memoryview]) -> None:
        """Pass on what has come in parts of a buffer that are written over afterwards."""
        self._link.received_bytes += sum(map(len, views))
        if self._protocol:
            self._protocol.views_received(views)

    def pause_writing(self) -> None:
        if self._protocol:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._protocol:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)
        protocol, self._protocol = self._protocol, None
        if protocol:
            protocol.connection_lost(OSError(errno.ECONNRESET, f"a port-forward for bulk is gone: {exc or 'closed'}"))

    # --- the flow's side

    def set_protocol(self, protocol: Joining | Stripe) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Joining | Stripe | None:
        return self._protocol

    def writelines(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        self._link.sent_bytes += sum(map(len, pieces))
        self._transport.writelines(pieces)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines((data,))

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    @property
    def room_bytes(self) -> int:
        return -self.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; there is no other way from this end."""
        if self._transport:
            self._transport.abort()
        else:
            self._on_lost(self)
