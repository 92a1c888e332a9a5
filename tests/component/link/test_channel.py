"""Channels through a real OpenSSH server on loopback."""

import asyncio
import signal
from contextlib import suppress

import pytest

from ktpy.link.connection import WINDOW_MAX_BYTES, AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.wire.session import AgentHello
from tests.component.link.shadow import Client, reply_after_eof
from tests.component.link.sshd import Sshd, echo, target
from tests.kit.waiting import until


async def test_echo_and_counters(connection: AgentConnection[AgentHello], dialer: Dialer) -> None:
    async with target(echo) as port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        assert client.transport is transport
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        assert transport.get_extra_info("socket") is None
        transport.writelines([b"hel", bytearray(b"l"), memoryview(b"o")])
        await until(lambda: client.received == b"hello", "the echo")
        assert (connection.link.sent_bytes, connection.link.received_bytes) == (5, 5)
        transport.close()
        assert transport.is_closing()
        assert await client.lost is None


async def test_half_close(dialer: Dialer) -> None:
    async with target(reply_after_eof) as port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        assert transport.can_write_eof()
        transport.write(b"x" * 300_000)
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"more")
        assert await client.lost is None
        assert client.received == b"300000 bytes"


@pytest.mark.parametrize("half_open", [True, False])
async def test_end_of_stream_from_the_far_side(dialer: Dialer, half_open: bool) -> None:
    rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        rest.set_result(await reader.read())
        writer.close()

    async with target(serve) as port:
        transport, client = await dialer.create_connection(lambda: Client(half_open=half_open), "127.0.0.1", port)
        await client.eof
        assert transport.is_closing() is not half_open
        transport.write(b"after the end")
        transport.close()
        assert await rest == (b"after the end" if half_open else b"")
        assert await client.lost is None


async def test_close_delivers_what_was_written(dialer: Dialer) -> None:
    async with target(reply_after_eof) as port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        transport.write(b"x" * 10_000_000)  # more than a window
        transport.close()
        transport.write(b"ignored")
        assert await client.lost is None
        assert client.received == b""


async def test_abort(dialer: Dialer) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with target(serve) as port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        transport.abort()
        assert not client.lost.done(), "never from inside a call"
        assert await client.lost is None
        transport.abort()
        async with asyncio.timeout(60):
            await ended.wait()


async def test_a_protocol_that_fails_ends_its_channel_and_no_other(dialer: Dialer) -> None:
    class Broken(Client):
        def data_received(self, data: bytes) -> None:
            raise RuntimeError("the handler is closed")

    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    async with target(echo) as port:
        whole, client = await dialer.create_connection(Client, "127.0.0.1", port)
        broken, victim = await dialer.create_connection(Broken, "127.0.0.1", port)
        broken.write(b"x")
        assert await victim.lost is None
        whole.write(b"hello")
        await until(lambda: client.received == b"hello", "the echo on the other channel")
        whole.close()
    assert told == ["The protocol of a channel failed."]


async def test_pause_in_connection_made(dialer: Dialer) -> None:
    """As the relay does: nothing is delivered before somebody is there to take it."""

    class Paused(Client):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"early")
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await dialer.create_connection(Paused, "127.0.0.1", port)
        assert not transport.is_reading()
        await round_trip(dialer, other_port)
        assert client.received == b""
        assert not client.eof.done()
        transport.resume_reading()
        await client.eof
        assert client.received == b"early"


async def round_trip(dialer: Dialer, port: int) -> None:
    """Another channel works, and whatever the far side sent before has arrived."""
    transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
    transport.write(b"ping")
    await until(lambda: client.received == b"ping", "an answer")
    transport.close()
    await client.lost


async def test_200_channels_at_once(dialer: Dialer) -> None:
    async def one(number: int, port: int) -> None:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        payload = number.to_bytes(2, "big") * 10_000
        transport.write(payload)
        transport.write_eof()
        assert await client.lost is None
        assert client.received == payload

    async with target(echo) as port, asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number, port))


async def test_reader_that_pauses_holds_no_more_than_its_window(
    connection: AgentConnection[AgentHello], dialer: Dialer
) -> None:
    size = 48 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(size))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        transport.pause_reading()
        for _ in range(5):
            await round_trip(dialer, other_port)
            held_bytes = sum(
                len(data) for channel in connection.ssh._channels.values() for data, _ in channel._recv_buf
            )
        assert held_bytes <= WINDOW_MAX_BYTES
        transport.resume_reading()
        async with asyncio.timeout(60):
            await client.eof
        assert len(client.received) == size
        transport.close()
        assert await client.lost is None


async def test_writer_waits_for_a_far_side_that_does_not_read(dialer: Dialer) -> None:
    read_on = asyncio.Event()
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        await read_on.wait()
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        sent = 0
        while True:
            if not client.may_write.is_set():
                await round_trip(dialer, other_port)  # everybody else goes on; the far side's kernel may take more
                if not client.may_write.is_set():
                    break
            transport.write(bytes(65536))
            sent += 65536
            assert sent < 64 << 20, "never paused"
        assert transport.get_write_buffer_size() <= 256 << 10
        read_on.set()
        async with asyncio.timeout(60):
            await client.may_write.wait()
        transport.write_eof()
        assert await client.lost is None
        assert total == sent


async def test_congested_link_pauses_every_writer(sshd: Sshd, dialer: Dialer) -> None:
    """Each channel has a window of 2 MiB at sshd; a link that stands still must not take that from each of them."""
    channels = 20
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.close()

    async with target(serve) as port:
        pairs = [await dialer.create_connection(Client, "127.0.0.1", port) for _ in range(channels)]
        sshd.signal(signal.SIGSTOP)
        sent = 0
        for _ in range(40):  # 2.5 MiB each, if nobody stopped them
            for transport, client in pairs:
                if client.may_write.is_set():
                    transport.write(bytes(65536))
                    sent += 65536
            await asyncio.sleep(0)
        assert not any(client.may_write.is_set() for _, client in pairs)
        assert sent < 12 << 20  # what the kernel's buffers take, and a little from each
        sshd.signal(signal.SIGCONT)
        for transport, client in pairs:
            async with asyncio.timeout(60):
                await client.may_write.wait()
            transport.write_eof()
        for _, client in pairs:
            assert await client.lost is None
        assert total == sent
