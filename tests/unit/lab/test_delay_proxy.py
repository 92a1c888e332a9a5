"""The delay proxy on real loopback sockets: what passes, how late, and how it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.lab.delay_proxy import DelayProxy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BIG = 32 * 1024 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied(handler: Handler, round_trip_s: float) -> AsyncIterator[tuple[DelayProxy, int]]:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        proxy = DelayProxy(server.sockets[0].getsockname()[:2], round_trip_s)
        port = await proxy.listen("127.0.0.1", 0)
        try:
            yield proxy, port
        finally:
            proxy.set_round_trip(0)
            for leg in list(proxy.legs):
                if leg.transport is not None:
                    leg.transport.abort()


async def test_the_first_answer_takes_two_round_trips_and_the_next_one() -> None:
    """The first includes the handshake, as on a long line."""
    async with proxied(echo, 10.0) as (_, port):
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        took_s = []
        for _ in range(2):
            started = loop.time()
            writer.write(b"x")
            await reader.readexactly(1)
            took_s.append(loop.time() - started)
        writer.close()
    assert took_s[0] == pytest.approx(20.0, abs=2.0)
    assert took_s[1] == pytest.approx(10.0, abs=2.0)


async def test_latency_does_not_cap_the_bandwidth() -> None:
    """32 MiB through 100 ms: were it one chunk per round trip, it would take a minute."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(BIG))
        await writer.drain()
        writer.close()

    async with proxied(send, 0.1) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        loop = asyncio.get_running_loop()
        started, received = loop.time(), 0
        while data := await reader.read(1 << 20):
            received += len(data)
        took_s = loop.time() - started
        writer.close()
    assert received == BIG
    assert took_s < 5


async def test_half_close_passes_and_the_answer_still_comes() -> None:
    async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        writer.close()

    async with proxied(answer_at_end, 0.02) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"got all"
        writer.close()


async def test_an_absent_server_resets_the_client() -> None:
    async with proxied(echo, 0.02) as (proxy, port):
        proxy._server_address = ("127.0.0.1", 1)  # nobody listens there
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()


async def test_at_zero_it_takes_no_more_and_ends_with_its_last_connection() -> None:
    async with proxied(echo, 0.02) as (proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        await reader.readexactly(1)
        proxy.set_round_trip(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"b")
        assert await reader.readexactly(1) == b"b"
        writer.close()
        async with asyncio.timeout(5):
            await proxy.wait_finished()


async def test_a_client_that_resets_takes_the_servers_side_along() -> None:
    ended = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            ended.set()
            writer.close()

    async with proxied(wait_for_end, 0.02) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        await asyncio.sleep(0.05)  # the connection to the server stands
        writer.transport.abort()
        async with asyncio.timeout(5):
            await ended.wait()
