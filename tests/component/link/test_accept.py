"""Connections in the pod that reach a local port, through a real OpenSSH server."""

import asyncio
from contextlib import suppress

from tests.component.link.gateway import FakeLocalPort, connect, serving
from tests.component.link.sshd import Sshd, echo, target


async def test_a_request_reaches_the_local_port_and_its_end_comes_back(gateway: Sshd) -> None:
    async with target(echo) as number, serving(gateway, FakeLocalPort(number)) as connection:
        reader, writer = await connect(gateway)
        writer.write(b"x" * 300_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 300_000
        writer.close()
        assert connection.link.sent_bytes == 300_000


async def test_a_server_that_speaks_first(gateway: Sshd) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        assert await reader.read() == b"QUIT"
        writer.close()

    async with target(greet) as number, serving(gateway, FakeLocalPort(number)):
        reader, writer = await connect(gateway)
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"QUIT")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_reset_by_the_local_server_ends_the_connection(gateway: Sshd) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with target(reset) as number, serving(gateway, FakeLocalPort(number)):
        reader, writer = await connect(gateway)
        writer.write(b"xy")
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()


async def test_200_requests_at_once(gateway: Sshd) -> None:
    async def one(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(gateway.directory / "80.sock")
        payload = number.to_bytes(2, "big") * 10_000
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == payload
        writer.close()

    async with target(echo) as number, serving(gateway, FakeLocalPort(number)):
        _, writer = await connect(gateway)
        writer.close()
        async with asyncio.TaskGroup() as group:
            for index in range(200):
                group.create_task(one(index))


async def test_a_client_that_does_not_read_holds_up_only_itself(gateway: Sshd) -> None:
    sent = 0
    stopped = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        if await reader.read(1) == b"f":
            with suppress(ConnectionError, TimeoutError):
                while sent < 200 << 20:
                    writer.write(bytes(1 << 20))
                    async with asyncio.timeout(1):
                        await writer.drain()
                    sent += 1 << 20
            stopped.set()
        else:
            writer.write(b"pong")
        writer.close()

    async with target(flood) as number, serving(gateway, FakeLocalPort(number)):
        _, greedy = await connect(gateway)
        greedy.write(b"f")
        async with asyncio.timeout(20):
            await stopped.wait()
        assert sent < 64 << 20
        reader, writer = await connect(gateway)
        writer.write(b"p")
        assert await reader.read() == b"pong"
        writer.close()
        greedy.transport.abort()
