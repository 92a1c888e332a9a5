"""A stream of frames, as a gateway's agent sends them, to real UDP sockets of this machine's loopback."""

import asyncio
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from ktpy.link.channel import Channel
from ktpy.link.datagrams import QUEUE_BYTES
from ktpy.link.udp_forward import UdpForward, UdpPort
from ktpy.wire.datagram import BEAT, DATAGRAM, FORGET, NOWHERE, Frame, FrameParser
from tests.kit.waiting import until


class Server(UdpPort):
    """A local program, and the port that it serves."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.name = self.socket.getsockname()
        self.refusals = 0

    def open_socket(self) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.connect(self.name)
        return opened

    def refuse(self) -> None:
        self.refusals += 1

    async def wait_up(self) -> None: ...
    async def wait_down(self) -> None: ...

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recvfrom(self.socket, 65535)


class FakeChannel:
    """Notes what was written to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def frames(self) -> list[Frame]:
        return FrameParser().feed(bytes(self.written))

    def answers(self) -> list[tuple[int, bytes]]:
        return [(frame.flow, frame.payload) for frame in self.frames() if frame.kind == DATAGRAM]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.socket.close()


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
async def forward(server: Server, channel: FakeChannel) -> UdpForward:
    forward = UdpForward(server)
    forward.connection_made(cast(Channel, channel))
    return forward


def datagram(flow: int, payload: bytes) -> bytes:
    return Frame(DATAGRAM, flow, 40000, NOWHERE, payload).encoded()


async def test_it_says_that_it_is_there(forward: UdpForward, channel: FakeChannel) -> None:
    assert [frame.kind for frame in channel.frames()] == [BEAT]


async def test_each_client_has_a_socket_of_its_own_and_gets_its_own_answers(
    forward: UdpForward, channel: FakeChannel, server: Server
) -> None:
    forward.data_received(datagram(1, b"one") + datagram(2, b"two")[:5])
    forward.data_received(datagram(2, b"two")[5:] + datagram(1, b""))
    found = [await server.receive() for _ in range(3)]
    assert [payload for payload, _ in found] == [b"one", b"two", b""]
    first, second, again = (address for _, address in found)
    assert first == again != second
    server.socket.sendto(b"for two", second)
    server.socket.sendto(b"for one", first)
    await until(lambda: len(channel.answers()) == 2, "both answers")
    assert sorted(channel.answers()) == [(1, b"for one"), (2, b"for two")]


async def test_a_flow_that_is_forgotten_begins_anew(forward: UdpForward, server: Server) -> None:
    forward.data_received(datagram(1, b"a"))
    _, first = await server.receive()
    forward.data_received(Frame(FORGET, 1, 0, NOWHERE, b"").encoded() + datagram(1, b"b"))
    _, second = await server.receive()
    assert first != second


async def test_a_port_that_is_unreachable_is_told_of(forward: UdpForward, server: Server) -> None:
    server.socket.close()
    forward.data_received(datagram(1, b"a"))
    await until(lambda: server.refusals > 0, "the refusal")


async def test_an_end_closes_the_sockets(forward: UdpForward, server: Server) -> None:
    forward.data_received(datagram(1, b"a"))
    _, client = await server.receive()
    forward.connection_lost(None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as same:
        await until(lambda: not is_taken(same, client), "the socket to be closed")


def is_taken(probe: socket.socket, name: tuple[str, int]) -> bool:
    try:
        probe.bind(name)
    except OSError:
        return True
    return False


async def test_what_is_too_much_for_the_tunnel_is_dropped_until_it_clears(
    forward: UdpForward, channel: FakeChannel
) -> None:
    forward.pause_writing()
    for _ in range(QUEUE_BYTES // 50_000 + 3):
        forward.answer(1, bytes(50_000))
    assert len(channel.written) < QUEUE_BYTES + 100
    forward.resume_writing()
    forward.answer(1, b"again")
    assert channel.answers()[-1] == (1, b"again")


async def test_closing_ends_the_stream(forward: UdpForward, channel: FakeChannel) -> None:
    forward.close()
    assert channel.is_aborted
