"""Ports that a program listens on appear on the laptop's loopback: those asked for, and those found."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

from ktpy.capture.namespace.inside import Inside
from ktpy.capture.spec import LOOPBACK, listen_on_loopback
from ktpy.link.splice import Accepted
from ktpy.observe.status import PublishedPort

LOOK_S: Final = 0.5
EPHEMERAL_FROM: Final = 32768
"""Ports from here on are the kernel's choice (ip_local_port_range): they are published, and not told of."""


class Published:
    """A Published has the ports of one program. `run` it while the program runs."""

    def __init__(self, inside: Inside, tell: Callable[[str], None], asked: Mapping[int, socket.socket]) -> None:
        """`asked` are listeners on the laptop, by port of the program."""
        self._inside, self._tell = inside, tell
        self._asked = asked
        self._servers: dict[int, asyncio.Server] = {}
        self._ports: dict[int, int] = {}

    @property
    def status(self) -> tuple[PublishedPort, ...]:
        return tuple(PublishedPort(port, local) for port, local in sorted(self._ports.items()))

    async def run(self, *, finds: bool) -> None:
        """Serve until cancelled; look for ports that nobody asked for where `finds` says so."""
        try:
            for port, sock in self._asked.items():
                await self._serve(port, sock)
            while finds:
                await self._look()
                await asyncio.sleep(LOOK_S)
            await asyncio.Event().wait()
        finally:
            for port in list(self._servers):
                self._end(port)

    async def _look(self) -> None:
        try:
            listening = self._inside.ports()
        except OSError:  # the kernel does not tell
            return
        for port in self._servers.keys() - listening - self._asked.keys():
            self._end(port)
        for port in sorted(listening - self._servers.keys()):
            await self._serve(port, _listener(port))
            if port < EPHEMERAL_FROM:
                self._tell(f"Port {port} of the program is {LOOPBACK}:{self._ports[port]} on this laptop.")

    async def _serve(self, port: int, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._servers[port] = await loop.create_server(
            lambda: Accepted(lambda make: self._inside.connect(make, port)), sock=sock
        )
        self._ports[port] = sock.getsockname()[1]

    def _end(self, port: int) -> None:
        self._servers.pop(port).close()
        del self._ports[port]


def _listener(port: int) -> socket.socket:
    """Return a listener on the same port of the laptop if it can be had, else on one that is free."""
    try:
        return listen_on_loopback(port)
    except OSError:
        return listen_on_loopback(0)
