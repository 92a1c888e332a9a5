"""Shortcuts: connections that begin and end on this laptop do not travel through the cluster.

An intercept that has all requests of a Service's port offers a unix socket of the user's for each address and port at
which the cluster has it, while its local port answers. Who connects to the cluster looks for that socket first, and
dials as ever where there is none, or where the local port does not take the connection at once.
"""

import asyncio
import hashlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ktpy.link.forwards import LocalEnd
from ktpy.link.splice import End
from ktpy.serve.local_port import LocalPort, WatchedPort
from ktpy.wire.route import ServicePort

Dial = Callable[[Callable[[], Any], str, int], Awaitable[tuple[Any, Any]]]
"""Connects to an address and port of the cluster, as `loop.create_connection` does."""

TAKEN: Final = b"+"
"""Comes first, once the local port has taken the connection."""
TAKEN_WITHIN_S: Final = 1.0
"""Whoever has not taken a connection after this time is stopped, or slow: the cluster is asked then."""

logger = logging.getLogger(__name__)


class Shortcuts:
    """Shortcuts dial the cluster at `server`, and in its place what this laptop offers."""

    def __init__(self, dial: Dial, folder: Path, server: str) -> None:
        self._dial, self._folder, self._server = dial, folder, server
        self._connections = 0

    def counted(self) -> dict[str, int]:
        """Return how many connections went the short way."""
        return {"connections": self._connections}

    async def create_connection(self, make: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Connect as `dial` does."""
        path = _place(self._folder, self._server, host, port)
        if path.exists() and (taken := await _taken(path)) is not None:
            self._connections += 1
            return await asyncio.get_running_loop().create_unix_connection(make, sock=taken)
        return await self._dial(make, host, port)


class OfferedShortcuts:
    """OfferedShortcuts lead to the local ports of one intercept."""

    def __init__(self, folder: Path, server: str, ports: Mapping[ServicePort, WatchedPort]) -> None:
        """`folder` is there, and nobody else's."""
        self._folder, self._server = folder, server
        self._ports = {number.number: port for number, port in ports.items() if isinstance(port, LocalPort)}
        self._kept: dict[Path, asyncio.Task[None]] = {}

    def offer(self, addresses: Iterable[str]) -> None:
        """Offer the ports at these addresses of the Service, and at no others any more."""
        loop = asyncio.get_running_loop()
        wanted = {
            _place(self._folder, self._server, address, number): port
            for address in addresses
            for number, port in self._ports.items()
        }
        for path in self._kept.keys() - wanted.keys():
            self._kept.pop(path).cancel()
            _remove(path)  # nobody else connects from this instant on
        for path in wanted.keys() - self._kept.keys():
            self._kept[path] = loop.create_task(_keep(path, wanted[path]), name=f"offer {path.name}")


async def _keep(path: Path, port: LocalPort) -> None:
    """Have the socket there while the port is up, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await port.wait_up()
        try:
            server = await loop.create_unix_server(partial(_TakenConnection, port), path)
        except OSError as error:
            logger.info("there is no shortcut to %s: %s", port, error)
            return
        try:
            await port.wait_down()
        finally:
            server.close()
            _remove(path)


async def _taken(path: Path) -> socket.socket | None:
    """Return a connection that the local port has taken."""
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(TAKEN_WITHIN_S):
            await loop.sock_connect(connection, os.fspath(path))
            if await loop.sock_recv(connection, 1) == TAKEN:
                return connection
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):  # who offered it was killed
            _remove(path)
        logger.info("a shortcut was not taken: %s", error)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


class _TakenConnection(End):
    """A _TakenConnection is joined to the local port, or reset where that does not answer. Who watches sees it."""

    __slots__ = ("_port", "_taking")

    def __init__(self, port: LocalPort) -> None:
        super().__init__()
        self._port = port
        self._taking: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._taking = asyncio.get_running_loop().create_task(self._take(), name=f"shortcut to {self._port}")

    async def _take(self) -> None:
        try:
            _, local = await self._port.connect(lambda: LocalEnd(self._port.doubt))
        except OSError as error:
            self.end(error)
            return
        self._port.shortcuts += 1
        if self.transport is not None and not self.lost:
            self.transport.write(TAKEN)
        early = local.early
        self.join(local)
        self._port.taps.open(self, local, early)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.taps.close(self)
        super().connection_lost(exc)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _place(folder: Path, server: str, host: str, port: int) -> Path:
    """Return where the socket for an address and port of the cluster is; a socket's path may not be long."""
    return folder / hashlib.sha256(f"{server} {host} {port}".encode()).hexdigest()[:16]
