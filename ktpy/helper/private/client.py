"""The main process reaches the helper of `ktpy run` by this module."""

import os
import select
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ktpy.errors import HelperFailed
from ktpy.helper.client import ANSWER_TIMEOUT_S, HelperClient
from ktpy.helper.launch import LaunchedHelper
from ktpy.helper.private.messages import (
    File,
    FilesPut,
    FolderOpened,
    FuseMounted,
    MakeNetwork,
    MountFuse,
    NetworkMade,
    OpenFolder,
    OpenSockets,
    Place,
    PlacesShown,
    PutFiles,
    ShowPlaces,
    SocketsOpened,
)
from ktpy.helper.protocol import MESSAGE_LIMIT_BYTES, Failed, decode_reply


@dataclass(frozen=True, slots=True)
class PrivateNetwork:
    """A PrivateNetwork is what a program's network is served by, from outside. The receiver closes all of it."""

    made: NetworkMade
    tun: int
    acceptors: tuple[socket.socket, ...]
    """Bound, for each of the TUN's addresses, IPv4 first."""
    dns_udp: socket.socket
    dns_tcp: socket.socket
    sock_diag: socket.socket
    namespaces: tuple[int, ...]
    """In the order in which they are entered."""

    def close(self) -> None:
        for sock in (*self.acceptors, self.dns_udp, self.dns_tcp, self.sock_diag):
            sock.close()
        for descriptor in (self.tun, *self.namespaces):
            os.close(descriptor)


class PrivateHelperClient(HelperClient):
    """A PrivateHelperClient asks a running helper, as a HelperClient does."""

    @property
    def is_gone(self) -> bool:
        return self._channel.closed.is_set()

    async def make_network(self) -> PrivateNetwork:
        """Make the network. Raises TunUnavailable and HelperFailed."""
        reply, descriptors = await self._channel.ask_with_descriptors(MakeNetwork(), NetworkMade, None)
        rest = iter(descriptors)
        tun = next(rest)
        acceptors = tuple(_sockets(rest, 1 if reply.address6 is None else 2))
        udp, tcp, diag = _sockets(rest, 3)
        diag.settimeout(1.0)
        return PrivateNetwork(reply, tun, acceptors, udp, tcp, diag, tuple(rest))

    async def put_files(self, files: Iterable[File], host_name: str | None = None) -> None:
        """Let the program see these files. Raises HelperFailed."""
        await self._channel.ask(PutFiles(tuple(files), host_name), FilesPut)

    async def open_folder(self) -> int:
        """Return the descriptor of a folder in memory, the caller's to close. Raises HelperFailed."""
        _, [folder] = await self._channel.ask_with_descriptors(OpenFolder(), FolderOpened, 1)
        return folder

    async def mount_fuse(self, count: int) -> tuple[list[int], str | None]:
        """Return descriptors to serve file systems on, the caller's to close; or none, and why. Raises HelperFailed."""
        reply, descriptors = await self._channel.ask_with_descriptors(MountFuse(count), FuseMounted, None)
        return list(descriptors), reply.why_not

    async def show(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Show what is in that folder to the program, once; return a sentence for each that cannot be."""
        return (await self._channel.ask(ShowPlaces(tuple(places)), PlacesShown)).failures

    async def open_sockets(self, ip_version: int, count: int) -> list[socket.socket]:
        """Return TCP sockets of the program's network. Raises HelperFailed."""
        request = OpenSockets(ip_version, count)
        _, descriptors = await self._channel.ask_with_descriptors(request, SocketsOpened, count)
        return list(_sockets(iter(descriptors), count))


def refuse_forbidden(launched: LaunchedHelper) -> None:
    """Wait for the helper's first word, and leave it to be read. Raises what it tells of: NamespacesForbidden."""
    poll = select.poll()
    poll.register(launched.socket, select.POLLIN)
    if not poll.poll(ANSWER_TIMEOUT_S * 1000):
        raise HelperFailed(f"The helper did not start within {ANSWER_TIMEOUT_S:.0f} s.")
    packet = launched.socket.recv(MESSAGE_LIMIT_BYTES, socket.MSG_PEEK)
    if not packet:
        raise launched.failure()
    if isinstance(reply := decode_reply(packet), Failed):
        raise reply.to_error()


def _sockets(descriptors: Iterator[int], count: int) -> Iterator[socket.socket]:
    for _ in range(count):
        yield socket.socket(fileno=next(descriptors))
