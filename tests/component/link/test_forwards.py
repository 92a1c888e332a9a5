"""Sockets in the pod that follow local ports, and connections to them, on a real OpenSSH server."""

import asyncio
import signal
import socket
import struct
from contextlib import suppress

import pytest

from ktpy.errors import LinkLost
from tests.component.link.gateway import AGENT, FakeLocalPort, accepts, connect, open_route, serve, serving
from tests.component.link.sshd import Sshd, echo, target
from tests.kit.waiting import until


async def test_an_agent_that_babbles_later_loses_the_link(gateway: Sshd) -> None:
    gateway.install(AGENT.replace('say({"counters"', 'print("oops", flush=True); ({"counters"'))
    connection = await open_route(gateway)
    async with asyncio.timeout(60):
        reason = await serve(connection, FakeLocalPort())
    assert "does not keep to the protocol" in str(reason)


async def test_the_socket_is_there_only_while_the_local_port_answers(gateway: Sshd) -> None:
    path = gateway.directory / "80.sock"
    async with target(echo) as number:
        local = FakeLocalPort(number, is_up=False)
        async with serving(gateway, local):
            await asyncio.sleep(0.1)
            assert not accepts(path)
            for _ in range(3):
                local.turn(True)
                await until(lambda: accepts(path), "the socket")
                local.turn(False)
                await until(lambda: not accepts(path), "no socket")


async def test_a_refused_dial_ends_the_connection_and_takes_the_socket_away(gateway: Sshd) -> None:
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        async with serving(gateway, FakeLocalPort(bound.getsockname()[1])):
            path = gateway.directory / "80.sock"
            await until(path.exists, "the socket")
            reader, writer = await asyncio.open_unix_connection(path)
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: not accepts(path), "no socket")


async def test_a_connection_that_comes_while_a_program_restarts_waits_for_it(gateway: Sshd) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        local = FakeLocalPort(bound.getsockname()[1])
        async with serving(gateway, local):
            path = gateway.directory / "80.sock"
            reader, writer = await connect(gateway, local)
            writer.write(b"here")
            await until(lambda: not accepts(path), "no socket")
            bound.listen()
            server = await asyncio.start_server(echo, sock=bound)
            local.turn(True)
            async with asyncio.timeout(60):
                assert await reader.readexactly(4) == b"here"
            writer.close()
            server.close()


async def test_a_connection_waits_for_a_program_that_is_awaited(gateway: Sshd) -> None:
    local = FakeLocalPort()
    path = gateway.directory / "80.sock"
    async with target(echo) as local.number, serving(gateway, local):
        await local.forwarded.wait()
        local.await_program()
        reader, writer = await connect(gateway, local)
        writer.write(b"here")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await reader.readexactly(4)
        assert accepts(path)
        local.turn(True)
        async with asyncio.timeout(60):
            assert await reader.readexactly(4) == b"here"
        writer.close()


async def test_a_connection_that_waited_in_vain_ends_and_the_socket_is_gone_then(gateway: Sshd) -> None:
    local = FakeLocalPort()
    async with serving(gateway, local):
        await local.forwarded.wait()
        local.await_program()
        reader, _ = await connect(gateway, local)
        await local.waited_for.wait()
        local.turn(False)
        async with asyncio.timeout(60):  # it is not waited for once more
            assert await reader.read() == b""
        assert not accepts(gateway.directory / "80.sock")


async def test_a_connection_that_waits_ends_with_its_link(gateway: Sshd) -> None:
    async with target(echo) as number:
        local = FakeLocalPort(number)
        async with serving(gateway, local):
            await local.forwarded.wait()
            local.await_program()
            reader, _ = await connect(gateway, local)
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        local.turn(True)


async def test_a_connection_that_stands_outlives_the_socket(gateway: Sshd) -> None:
    async with target(echo) as number:
        local = FakeLocalPort(number)
        async with serving(gateway, local):
            reader, writer = await connect(gateway, local)
            writer.write(b"here")
            assert await reader.readexactly(4) == b"here"
            local.turn(False)
            await until(lambda: not accepts(gateway.directory / "80.sock"), "no socket")
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            writer.close()


async def test_sshd_killed(gateway: Sshd) -> None:
    began, lost = asyncio.Event(), asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began.set()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        lost.set()
        writer.close()

    async with target(hold) as number:
        connection = await open_route(gateway)
        local = FakeLocalPort(number)
        task = asyncio.create_task(serve(connection, local))
        _, writer = await connect(gateway, local)
        async with asyncio.timeout(60):
            await began.wait()
            gateway.signal(signal.SIGKILL)
            assert isinstance(await task, LinkLost)
            await lost.wait()
        writer.close()


async def test_cancelled(gateway: Sshd) -> None:
    async with target(echo) as number:
        connection = await open_route(gateway)
        local = FakeLocalPort(number)
        task = asyncio.create_task(serve(connection, local))
        _, writer = await connect(gateway, local)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        connection.close()
        assert await connection.wait_closed() is None
        writer.close()


async def test_a_socket_that_cannot_be_made_loses_the_link(gateway: Sshd) -> None:
    gateway.install(AGENT.replace("os.getcwd()", "'/nowhere'"))
    connection = await open_route(gateway)
    async with asyncio.timeout(60):
        assert "does not make the socket" in str(await serve(connection, FakeLocalPort()))


async def test_a_socket_that_cannot_be_made_yet(gateway: Sshd) -> None:
    """sshd makes none where the last one's file is left."""
    gateway.install(AGENT.replace("os.getcwd()", "os.getcwd() + '/late'"))
    async with serving(gateway, FakeLocalPort()):
        await asyncio.sleep(0.2)
        (gateway.directory / "late").mkdir()
        await until(lambda: accepts(gateway.directory / "late" / "80.sock"), "the socket")


# --- connections


async def test_a_request_reaches_the_local_port_and_its_end_comes_back(gateway: Sshd) -> None:
    local = FakeLocalPort()
    async with target(echo) as local.number, serving(gateway, local) as connection:
        reader, writer = await connect(gateway, local)
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

    local = FakeLocalPort()
    async with target(greet) as local.number, serving(gateway, local):
        reader, writer = await connect(gateway, local)
        assert await reader.readline() == b"220 ready\r\n"
        writer.write(b"QUIT")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


async def test_a_reset_by_the_local_server_ends_the_connection(gateway: Sshd) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    local = FakeLocalPort()
    async with target(reset) as local.number, serving(gateway, local):
        reader, writer = await connect(gateway, local)
        writer.write(b"xy")
        with suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert await reader.read() == b""
        writer.close()


async def test_200_requests_at_once(gateway: Sshd) -> None:
    async def connected() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            try:
                return await asyncio.open_unix_connection(gateway.directory / "80.sock")
            except BlockingIOError:  # of those that sshd has not accepted yet, 128 are queued (connect(2))
                await asyncio.sleep(0.01)

    async def one(number: int) -> None:
        reader, writer = await connected()
        payload = number.to_bytes(2, "big") * 10_000
        writer.write(payload)
        writer.write_eof()
        assert await reader.read() == payload
        writer.close()

    local = FakeLocalPort()
    async with target(echo) as local.number, serving(gateway, local):
        _, writer = await connect(gateway, local)
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

    local = FakeLocalPort()
    async with target(flood) as local.number, serving(gateway, local):
        _, greedy = await connect(gateway, local)
        greedy.write(b"f")
        async with asyncio.timeout(60):
            await stopped.wait()
        assert sent < 64 << 20
        reader, writer = await connect(gateway, local)
        writer.write(b"p")
        assert await reader.read() == b"pong"
        writer.close()
        greedy.transport.abort()


async def test_a_connection_that_is_closed_without_an_answer_takes_the_socket_away_before_it_ends(
    gateway: Sshd,
) -> None:
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with target(close) as number:
        local = FakeLocalPort(number)
        local.closes = True
        async with serving(gateway, local):
            reader, writer = await connect(gateway, local)
            writer.write(b"request")
            async with asyncio.timeout(60):
                assert await reader.read() == b""
            assert not accepts(gateway.directory / "80.sock")
            writer.close()


async def test_what_comes_for_a_connection_that_was_closed_harms_no_other(gateway: Sshd) -> None:
    """The local port's end is told only once it is known whether the port closes all: data may come meanwhile."""
    doubted, known = asyncio.Event(), asyncio.Event()

    async def serve_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1) == b"x":
            reset = struct.pack("ii", 1, 0)  # struct linger of socket(7)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
        else:
            await echo(reader, writer)

    class Doubted(FakeLocalPort):
        async def doubt(self) -> bool:
            doubted.set()
            await known.wait()
            return True

    async with target(serve_two) as number:
        local = Doubted(number)
        async with serving(gateway, local):
            (whole, at_whole), (broken, at_broken) = [await connect(gateway, local) for _ in range(2)]
            at_broken.write(b"x")
            await doubted.wait()
            at_broken.write(b"late")
            at_whole.write(b"-sent")
            async with asyncio.timeout(60):
                assert await whole.readexactly(4) == b"sent"
                known.set()
                assert await broken.read() == b""
                at_whole.write(b"again")
                assert await whole.readexactly(5) == b"again"
            for writer in (at_whole, at_broken):
                writer.close()
