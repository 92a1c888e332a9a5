"""Datagrams of the laptop's ports, as frames to the agent and back."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from ktpy.capture.forward import datagrams
from ktpy.capture.forward.datagrams import IDLE_S
from ktpy.dns.forward import NoAnswerError
from ktpy.errors import ApiUnreachable
from ktpy.wire.datagram import DATAGRAM, FORGET, Frame, FrameParser, mapped
from tests.kit.waiting import until
from tests.unit.capture.forward.cluster import POD, Cluster

ADDRESS = mapped(ip_address(POD).packed)


class Way:
    """The agent's end: what was sent to it."""

    is_up = True

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def send(self, frames: bytes) -> bool:
        self.frames += FrameParser().feed(frames)
        return True


@pytest.fixture
def way() -> Way:
    return Way()


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        client.setblocking(False)
        yield client


async def test_each_client_has_a_flow_and_gets_its_answers(way: Way, client: socket.socket) -> None:
    cluster = Cluster()
    forward = cluster.forward(53, "UDP")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        async with cluster.serving(forward, way) as server:
            for sender, word in ((client, b"one"), (client, b"two"), (other, b"three")):
                sender.sendto(word, ("127.0.0.1", forward.local_port))
            await until(lambda: len(way.frames) == 3)
            assert [(one.flow, one.payload) for one in sorted(way.frames)] == [(1, b"one"), (1, b"two"), (2, b"three")]
            assert {(one.kind, one.port, one.address) for one in way.frames} == {(DATAGRAM, 53, ADDRESS)}
            assert server.datagram_flows == 2
            server.deliver([Frame(DATAGRAM, 1, 53, ADDRESS, b"answer"), Frame(DATAGRAM, 9, 53, ADDRESS, b"stray")])
            assert await loop.sock_recv(client, 100) == b"answer"


async def test_a_flow_that_is_not_used_is_forgotten(
    way: Way, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(datagrams.DatagramForwards.__init__, "__defaults__", (lambda: now_s,))
    cluster = Cluster()
    forward = cluster.forward(53, "UDP")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        async with cluster.serving(forward, way) as server:
            client.sendto(b"one", ("127.0.0.1", forward.local_port))
            await until(lambda: len(way.frames) == 1)
            now_s += IDLE_S + 1
            other.sendto(b"two", ("127.0.0.1", forward.local_port))
            await until(lambda: len(way.frames) == 3)
            assert [(one.kind, one.flow) for one in way.frames[1:]] == [(FORGET, 1), (DATAGRAM, 2)]
            assert server.datagram_flows == 1


@pytest.mark.parametrize("failure", [NoAnswerError("the cluster's DNS is silent"), ApiUnreachable("away")])
async def test_while_nobody_can_say_where_a_datagram_goes_it_is_dropped_and_the_next_is_tried(
    failure: Exception, way: Way, client: socket.socket
) -> None:
    cluster = Cluster()
    cluster.failure = failure
    forward = cluster.forward(53, "UDP")
    async with cluster.serving(forward, way) as server:
        client.sendto(b"one", ("127.0.0.1", forward.local_port))
        await until(lambda: server.counter_readers()["forward"]()["datagrams_dropped"] == 1)
        cluster.failure = None
        client.sendto(b"two", ("127.0.0.1", forward.local_port))
        await until(lambda: len(way.frames) == 1)
        assert way.frames[0].payload == b"two"


async def test_where_nobody_is_found_a_datagram_is_dropped_and_the_next_is_tried(
    way: Way, client: socket.socket
) -> None:
    cluster = Cluster()
    cluster.addresses = []
    forward = cluster.forward(53, "UDP")
    async with cluster.serving(forward, way) as server:
        client.sendto(b"one", ("127.0.0.1", forward.local_port))
        await until(lambda: server.counter_readers()["forward"]()["datagrams_dropped"] == 1)
        cluster.addresses = [POD]
        client.sendto(b"two", ("127.0.0.1", forward.local_port))
        await until(lambda: len(way.frames) == 1)
        assert way.frames[0].payload == b"two"
