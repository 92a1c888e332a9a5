"""Requests without a kernel, over a socket pair; with the kernel's: tests/net/capture/namespace/test_claims.py."""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ktpy.fuse.kernel import ROOT, Opcode
from ktpy.fuse.server import FuseServer
from ktpy.fuse.volume_channel import Answer, VolumeChannel
from ktpy.wire.volume import Status

FILE = Status(7, 0o100644, 1, 5, 8, 0, 0, 0)
FOLDER = Status(8, 0o40755, 2, 0, 0, 0, 0, 0)


class Volume(VolumeChannel):
    """A Volume answers as the test says, by operation."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, list[Any]] = {}
        self.asked: list[tuple[object, ...]] = []
        self.is_silent = False

    @property
    def is_up(self) -> bool:
        return self.is_silent

    async def ask(self, operation: str, *arguments: object, **options: Any) -> Answer:
        self.asked.append((operation, *arguments))
        if self.is_silent:
            await asyncio.Event().wait()
        if operation not in self.answers:
            return await super().ask(operation, *arguments, **options)
        return Answer(self.answers[operation], b"", 1)


class Kernel:
    """A Kernel is the other side of the device."""

    def __init__(self, volume: Volume) -> None:
        self._socket, device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        device.setblocking(False)
        self.server = FuseServer(device.detach(), volume, (1000, 1000))
        self._number = 0

    def send(self, opcode: int, body: bytes = b"", node: int = ROOT) -> int:
        self._number += 1
        self._socket.send(struct.pack("=IIQQIIII", 40 + len(body), opcode, self._number, node, 0, 0, 0, 0) + body)
        return self._number

    async def answer(self) -> tuple[int, int, bytes]:
        """The next answer: whose it is, its errno, and what it says."""
        packet = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
        _, error, number = struct.unpack_from("=IiQ", packet)
        return number, -error, packet[16:]

    async def ask(self, opcode: int, body: bytes = b"", node: int = ROOT) -> tuple[int, bytes]:
        number = self.send(opcode, body, node)
        answered, error, says = await self.answer()
        assert answered == number
        return error, says

    async def aclose(self) -> None:
        await self.server.aclose()
        assert self._socket.recv(1) == b""
        self._socket.close()


@pytest.fixture
def volume() -> Volume:
    return Volume()


@pytest.fixture
async def kernel(volume: Volume) -> AsyncIterator[Kernel]:
    made = Kernel(volume)
    yield made
    await made.aclose()


@pytest.mark.parametrize(("major", "error"), [(7, 0), (8, errno.EPROTO)])
async def test_it_greets_a_kernel_that_it_knows(kernel: Kernel, major: int, error: int) -> None:
    assert (await kernel.ask(Opcode.INIT, struct.pack("=4I", major, 40, 0, 0)))[0] == error


async def test_what_it_does_not_know_is_not_there(kernel: Kernel) -> None:
    assert await kernel.ask(43) == (errno.ENOSYS, b"")  # FALLOCATE


async def test_what_cannot_be_read_is_an_error(kernel: Kernel, volume: Volume) -> None:
    volume.answers["stat"] = ["nonsense"]
    assert await kernel.ask(Opcode.GETATTR, bytes(16)) == (errno.EIO, b"")
    assert await kernel.ask(Opcode.GETATTR, bytes(16), node=99) == (errno.ESTALE, b"")
    assert (await kernel.ask(Opcode.READ, bytes(40)))[0] == errno.EBADF


async def test_a_program_waits_for_a_lost_link_and_not_for_ever(kernel: Kernel) -> None:
    assert await kernel.ask(Opcode.LOOKUP, b"book\0") == (errno.EIO, b"")


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_signal_ends_the_waiting_for_a_link_or_a_pod(kernel: Kernel, volume: Volume, is_silent: bool) -> None:
    volume.is_silent = is_silent
    waiting = kernel.send(Opcode.LOOKUP, b"book\0")
    kernel.send(Opcode.INTERRUPT, struct.pack("=Q", waiting))
    assert await kernel.answer() == (waiting, errno.EINTR, b"")


async def test_a_folder_is_read_with_what_is_in_it(kernel: Kernel, volume: Volume) -> None:
    """Unless a program has changed something since: the kernel knows better then. Names that are none are left out."""
    volume.answers = {"entries": [[["book", FILE], ["a/b", FILE], ["..", FOLDER], ["", FILE]]], "unlink": []}
    _, says = await kernel.ask(Opcode.OPENDIR, bytes(8))
    [handle] = struct.unpack_from("=Q", says)

    async def read(offset: int) -> list[int]:
        """The numbers of the nodes."""
        _, says = await kernel.ask(Opcode.READDIRPLUS, struct.pack("=QQIIQII", handle, offset, 4096, 0, 0, 0, 0))
        return [struct.unpack_from("=Q", says, place)[0] for place in range(0, len(says), 160)]

    assert await read(0) == [0, 0, 2]
    assert await read(2) == [2]
    await kernel.ask(Opcode.UNLINK, b"other\0")
    assert await read(2) == [0]
    assert await read(0) == [0, 0, 2]
    assert [one for one in volume.asked if one[0] == "entries"] == [("entries", "")] * 2


async def test_another_file_with_the_name_is_looked_up_anew(kernel: Kernel, volume: Volume) -> None:
    volume.answers = {"stat": [FILE], "open": [3, FILE._replace(inode=9)], "close": []}
    await kernel.ask(Opcode.LOOKUP, b"book\0")
    assert await kernel.ask(Opcode.OPEN, bytes(8), node=2) == (errno.ESTALE, b"")
    volume.answers["stat"] = [FILE._replace(inode=9)]
    assert (await kernel.ask(Opcode.GETATTR, bytes(16), node=2))[0] == errno.ESTALE


async def test_owners_stay(kernel: Kernel, volume: Volume) -> None:
    volume.answers = {"stat": [FILE]}
    await kernel.ask(Opcode.LOOKUP, b"book\0")
    assert await kernel.ask(Opcode.SETATTR, struct.pack("=I84x", 2), node=2) == (errno.EPERM, b"")
