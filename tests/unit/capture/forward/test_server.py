"""Connections to the laptop's ports, which are spliced to those that the cluster takes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ktpy.capture.forward.server import ForwardServer
from ktpy.dns.forward import NoAnswerError
from ktpy.errors import ApiUnreachable
from tests.kit.waiting import until
from tests.unit.capture.forward.cluster import ABSENT, POD, Cluster


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends everything back, and its end of stream."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def exchange(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def counted(server: ForwardServer) -> dict[str, int]:
    return server.counter_readers()["forward"]()


async def test_both_ways_and_the_ends(cluster: Cluster, echo: int) -> None:
    forward = cluster.forward(echo)
    async with cluster.serving(forward) as server:
        assert await exchange(forward.local_port) == b"hello"
        await until(lambda: server.open_flows == 0)
        assert (server.traffic.sent_bytes, server.traffic.received_bytes) == (5, 5)
        assert counted(server) == {"connections": 1, "failed": 0, "datagrams_dropped": 0}


async def test_each_connection_goes_to_what_is_there_then(cluster: Cluster, echo: int) -> None:
    forward = cluster.forward(echo)
    async with cluster.serving(forward):
        assert await exchange(forward.local_port) == b"hello"
        cluster.addresses = [ABSENT, "10.244.0.8"]
        assert await exchange(forward.local_port) == b"hello"
    assert cluster.dialled == [POD, ABSENT, "10.244.0.8"]


@pytest.mark.parametrize(
    ("addresses", "failure"),
    [
        ([], None),
        ([ABSENT], None),
        ([], NoAnswerError("the cluster's DNS is away")),
        ([], ApiUnreachable("away")),
    ],
    ids=["nobody", "refused", "no answer of DNS", "no answer of the API server"],
)
async def test_what_cannot_be_reached_is_reset(
    cluster: Cluster, echo: int, addresses: list[str], failure: Exception | None
) -> None:
    cluster.addresses, cluster.failure = addresses, failure
    forward = cluster.forward(echo)
    async with cluster.serving(forward) as server:
        with pytest.raises(ConnectionResetError):
            await exchange(forward.local_port)
        assert counted(server) == {"connections": 0, "failed": 1, "datagrams_dropped": 0}


async def test_the_end_resets_what_is_open(cluster: Cluster, echo: int) -> None:
    forward = cluster.forward(echo)
    async with cluster.serving(forward) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.local_port)
        writer.write(b"hello")
        assert await reader.read(5) == b"hello"
        assert server.open_flows == 1
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert forward.own.fileno() < 0
