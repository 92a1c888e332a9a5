"""A UDP port of this laptop, or next to it, that datagrams from the cluster go to, and whether a program serves it."""

import asyncio
import socket
from contextlib import closing
from typing import Final

from ktpy.serve.listeners import udp_address
from ktpy.serve.local_port import LOOPBACKS, WatchedPort
from ktpy.wire.route import UDP

SILENCE_S: Final = 0.2
"""Who has not refused an empty datagram for this long takes datagrams."""


class LocalUdpPort(WatchedPort):
    """A LocalUdpPort is up while a socket is bound to it, as the kernel tells, until a datagram is refused.

    A refusal is the ICMP error "port unreachable". Where the kernel knows of no socket (a packet filter may lead
    elsewhere, or the port is on another host), an empty datagram tells: a port that does not refuse it is up.
    """

    protocol = UDP

    def open_socket(self) -> socket.socket:
        """Return a connected socket that does not block. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._addresses[0] else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.connect((self._addresses[0], self.number))
        except OSError:
            opened.close()
            raise
        return opened

    def refuse(self) -> None:
        """Note that a datagram was refused."""
        self._tell(is_up=False)

    async def probe(self) -> bool:
        """Find out once whether the port is up."""
        if not (self.host and self.is_up):
            self._tell(is_up=self._is_bound() or await self._is_silent())
        return self.is_up

    def _is_bound(self) -> bool:
        try:
            address = udp_address(self.number) if self.host is None else None
        except OSError:  # the kernel does not tell
            return False
        if address is not None:
            self._addresses = (address,)
        return address is not None

    async def _is_silent(self) -> bool:
        """Return whether an address of the port does not refuse a datagram, and keep to that one."""
        for address in await self._resolve():
            self._addresses = (address,)
            try:
                with closing(self.open_socket()) as probe:
                    probe.send(b"")
                    async with asyncio.timeout(SILENCE_S):
                        await asyncio.get_running_loop().sock_recv(probe, 1)
            except TimeoutError:
                return True
            except OSError:
                continue
            return True
        return False

    async def _resolve(self) -> tuple[str, ...]:
        if self.host is None:
            return LOOPBACKS
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, self.number, type=socket.SOCK_DGRAM)
        except OSError:
            return ()
        return tuple(str(name[0]) for *_, name in found)
