"""Packets that cross a TUN, as somebody who looks at them is shown them."""

import asyncio
import time
from collections import deque
from collections.abc import Collection
from typing import Final, NamedTuple

from ktpy.packet.headers import VNET_HEADER_BYTES
from ktpy.packet.packet_filter import Address, Matches, headers_of

MOST_BYTES: Final = 8 << 20
"""So much waits for whoever is shown it; what comes then is not shown, and counted."""


class SeenPacket(NamedTuple):
    """A SeenPacket is one as the program sent or got it; several segments of one connection may be together in it."""

    at_s: float
    """Since the epoch."""
    is_sent: bool
    """By a program of the laptop."""
    length: int
    """In bytes, with its IP header."""
    data: bytes
    """Its first bytes, from the IP header on."""
    ends: tuple[Address, Address]


class PacketTap:
    """A PacketTap keeps the packets that match until `take` has them."""

    def __init__(self, matches: Matches, snapshot_bytes: int, peers: Collection[Address]) -> None:
        """What goes to and from `peers`, ktpy's stand-ins, is a packet on its second way through the TUN."""
        self._matches, self._snapshot_bytes, self._peers = matches, snapshot_bytes, peers
        self._seen: deque[SeenPacket] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self.dropped = 0

    def see(self, packet: bytes | memoryview, *, is_sent: bool) -> None:
        """Take note of a packet behind its virtio_net_hdr."""
        body = memoryview(packet)[VNET_HEADER_BYTES:]
        headers = headers_of(body)
        if headers is None or headers.ends[is_sent] in self._peers or not self._matches(headers):
            return
        data = bytes(body[: self._snapshot_bytes])
        if self._bytes + len(data) > MOST_BYTES:
            self.dropped += 1
            return
        self._bytes += len(data)
        self._seen.append(SeenPacket(time.time(), is_sent, len(body), data, headers.ends))
        self._some.set()

    async def take(self, most: int) -> list[SeenPacket]:
        """Return the next packets, as many as there are up to `most`; wait for one."""
        await self._some.wait()
        taken = [self._seen.popleft() for _ in range(min(most, len(self._seen)))]
        self._bytes -= sum(len(one.data) for one in taken)
        if not self._seen:
            self._some.clear()
        return taken
