"""Connections from outside to what a program listens on in its network, by sockets that were made there."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

from ktpy.helper.private.client import PrivateHelperClient, PrivateNetwork
from ktpy.sock_diag import listeners

P = TypeVar("P", bound=asyncio.Protocol)

AT_ONCE: Final = 16
"""So many sockets are asked for at once; the helper takes no longer for them than for one."""
EVERY_PORT: Final = 0
_ANY4, _LOOPBACK4 = bytes(16), b"\x7f\0\0\1".ljust(16, b"\0")
_ANY6, _LOOPBACK6 = bytes(16), bytes(15) + b"\1"
_MAPPED: Final = bytes(10) + b"\xff\xff"
"""Before an IPv4 address of an IPv6 socket (RFC 4291, 2.5.5.2), such as a JVM's."""
_REACHED: Final = {
    (socket.AF_INET, _ANY4): "127.0.0.1",
    (socket.AF_INET, _LOOPBACK4): "127.0.0.1",
    (socket.AF_INET6, _ANY6): "::1",
    (socket.AF_INET6, _LOOPBACK6): "::1",
    (socket.AF_INET6, _MAPPED + _ANY4[:4]): "127.0.0.1",
    (socket.AF_INET6, _MAPPED + _LOOPBACK4[:4]): "127.0.0.1",
}
"""By family and address of a listener, where it is reached."""


class Inside:
    """An Inside reaches the program's loopback."""

    def __init__(self, helper: PrivateHelperClient, network: PrivateNetwork) -> None:
        self._helper = helper
        self._kernel = network.sock_diag
        self._sockets: dict[socket.AddressFamily, list[socket.socket]] = {socket.AF_INET: [], socket.AF_INET6: []}

    def close(self) -> None:
        for sockets in self._sockets.values():
            while sockets:
                sockets.pop().close()

    def ports(self) -> set[int]:
        """Return the TCP ports that programs listen on so that their loopback reaches them. Raises OSError."""
        return {port for port, _ in self._listeners(EVERY_PORT)}

    def is_listened_on(self, port: int) -> bool:
        """Raises OSError where the kernel does not tell."""
        return any(self._listeners(port))

    async def connect(self, make: Callable[[], P], port: int) -> tuple[asyncio.Transport, P]:
        """Connect to who listens. Raises OSError where nobody does, and HelperFailed."""
        loop = asyncio.get_running_loop()
        address = min((address for _, address in self._listeners(port)), default="127.0.0.1")  # IPv4 first
        sock = await self._take(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            await loop.sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return await loop.create_connection(make, sock=sock)

    async def _take(self, family: socket.AddressFamily) -> socket.socket:
        sockets = self._sockets[family]
        if not sockets:
            sockets += await self._helper.open_sockets(4 if family == socket.AF_INET else 6, AT_ONCE)
        return sockets.pop()

    def _listeners(self, port: int) -> Iterator[tuple[int, str]]:
        yield from self._listeners_of(socket.AF_INET, port)
        with suppress(OSError):  # a kernel without IPv6
            yield from self._listeners_of(socket.AF_INET6, port)

    def _listeners_of(self, family: socket.AddressFamily, port: int) -> Iterator[tuple[int, str]]:
        for one in listeners(self._kernel, family, port):
            if (reached := _REACHED.get((family, one.address))) is not None:
                yield one.port, reached
