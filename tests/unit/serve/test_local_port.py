import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from ktpy.serve import local_port
from ktpy.serve.local_port import LocalPort
from tests.kit.ports import free_port


@asynccontextmanager
async def server(port: int, host: str = "127.0.0.1") -> AsyncIterator[None]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(serve, host, port)
    try:
        yield
    finally:
        listening.close()


async def test_a_port_that_nobody_listens_on_is_down() -> None:
    port = LocalPort(free_port())
    assert not await port.probe()
    assert not port.is_up
    with pytest.raises(ConnectionRefusedError):
        await port.connect(asyncio.Protocol)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_server_on_either_loopback_address_is_found(host: str) -> None:
    port = LocalPort(free_port())
    async with server(port.number, host):
        assert await port.probe()
        transport, _ = await port.connect(asyncio.Protocol)
        assert transport.get_extra_info("peername")[0] == host
        transport.close()


async def test_a_port_of_another_host_is_tried_while_it_is_down_and_left_alone_while_it_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_port, "ELSEWHERE_INTERVAL_S", 0.01)
    port = LocalPort(free_port(), host="127.0.0.2")  # no address that the kernel is asked about
    async with server(port.number):
        assert not await port.probe()
    accepted = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    watching = asyncio.create_task(port.watch())
    async with asyncio.timeout(5):
        listening = await asyncio.start_server(serve, "127.0.0.2", port.number)
        await port.wait_up()
        for _ in range(5):
            await port.probe()
        assert accepted <= 1
        listening.close()
        assert await port.probe()  # nobody has asked for anything meanwhile
        with pytest.raises(OSError):
            await port.connect(asyncio.Protocol)
        assert not port.is_up
    watching.cancel()


async def test_watching_tells_each_change_once() -> None:
    changes: list[bool] = []
    port = LocalPort(free_port(), lambda: changes.append(port.is_up))
    watching = asyncio.create_task(port.watch())
    async with asyncio.timeout(5):
        for _ in range(2):
            await port.wait_down()
            async with server(port.number):
                await port.wait_up()
        await port.wait_down()
    watching.cancel()
    assert changes == [True, False, True, False]


async def test_a_refused_request_counts_at_once() -> None:
    port = LocalPort(free_port())
    async with server(port.number):
        await port.probe()
    assert port.is_up
    with pytest.raises(OSError):
        await port.connect(asyncio.Protocol)
    assert not port.is_up
    async with asyncio.timeout(1):
        await port.wait_down()


@asynccontextmanager
async def awaited(patience_s: float) -> AsyncIterator[LocalPort]:
    """A port that was up and is not any more, but watched."""
    port = LocalPort(free_port(), patience_s=patience_s)
    assert not port.is_awaited  # nobody was there yet
    async with server(port.number):
        await port.probe()
    with pytest.raises(OSError):
        await port.connect(asyncio.Protocol)
    watching = asyncio.create_task(port.watch())
    yield port
    watching.cancel()


async def test_a_port_that_was_up_is_awaited() -> None:
    async with asyncio.timeout(5), awaited(60) as port:
        assert port.is_awaited
        waiting = asyncio.create_task(port.settle())
        await asyncio.sleep(0)
        assert port.waiting == 1
        async with server(port.number):
            assert await waiting
        assert (port.waiting, port.waited) == (0, 1)


async def test_a_port_is_awaited_no_longer_than_was_said() -> None:
    async with asyncio.timeout(5), awaited(0.05) as port:
        assert not await port.settle()
        assert not port.is_awaited
        await port.wait_down()


@contextmanager
def full_backlog() -> Iterator[socket.socket]:
    """A listener that does not accept, as that of a program at a breakpoint, and whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        waiting.connect(full.getsockname())
        yield full


async def test_a_listener_that_does_not_accept_is_up() -> None:
    with full_backlog() as full:
        assert await LocalPort(full.getsockname()[1]).probe()


async def test_a_request_waits_for_a_listener_that_does_not_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_port, "CONNECT_TIMEOUT_S", 0.05)
    with full_backlog() as full:
        port = LocalPort(full.getsockname()[1])
        await port.probe()
        request = asyncio.create_task(port.connect(asyncio.Protocol))
        await asyncio.wait({request}, timeout=0.2)
        assert port.is_up
        assert not request.done()
        full.accept()[0].close()
        async with asyncio.timeout(5):
            transport, _ = await request
        transport.close()


async def test_a_request_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_port, "CONNECT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(local_port, "FULL_BACKLOG_ATTEMPTS", 3)
    with full_backlog() as full:
        port = LocalPort(full.getsockname()[1])
        with pytest.raises(TimeoutError):
            await port.connect(asyncio.Protocol)
        assert not port.is_up


async def test_watching_makes_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one_shot:
        one_shot.setblocking(False)
        port = LocalPort(one_shot.getsockname()[1])
        watching = asyncio.create_task(port.watch())
        await port.wait_up()
        for _ in range(3):
            await port.probe()
        with pytest.raises(BlockingIOError):
            one_shot.accept()
        watching.cancel()


async def test_where_the_kernel_does_not_tell_a_connection_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> bool:
        raise OSError

    monkeypatch.setattr(local_port, "is_listened_on", unknown)
    port = LocalPort(free_port())
    async with server(port.number):
        assert await port.probe()
    assert not await port.probe()


# --- a port that accepts and closes, as a forwarder whose application is down


async def close_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("serve", [close_at_once, reset_at_once])
async def test_a_port_that_accepts_and_closes_is_down_until_a_connection_lives(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    changes: list[tuple[bool, bool]] = []
    port = LocalPort(free_port(), lambda: changes.append((port.is_up, port.closes)))
    async with await asyncio.start_server(serve, "127.0.0.1", port.number):
        assert await port.probe()
        assert not await port.doubt()
        assert not await port.probe()
        transport, _ = await port.connect(asyncio.Protocol)
        assert not port.is_up, "a connection that stands proves nothing"
        transport.close()
    async with server(port.number):
        assert await port.probe()
    assert changes == [(True, False), (False, True), (True, False)]


async def test_a_port_that_closed_and_that_nobody_listens_on_any_more_is_down() -> None:
    port = LocalPort(free_port())
    async with await asyncio.start_server(close_at_once, "127.0.0.1", port.number):
        await port.probe()
        await port.doubt()
    assert not await port.probe()
    assert not port.closes


async def test_a_doubt_about_a_port_that_serves_or_is_paused_changes_nothing() -> None:
    port = LocalPort(free_port())
    async with server(port.number):
        await port.probe()
        assert await port.doubt()
    with full_backlog() as full:
        port = LocalPort(full.getsockname()[1])
        await port.probe()
        assert await port.doubt()


async def test_a_server_that_speaks_first_lives() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready")
        writer.close()

    port = LocalPort(free_port())
    async with await asyncio.start_server(greet, "127.0.0.1", port.number):
        assert await port.doubt()


async def test_many_doubts_are_one_connection() -> None:
    accepted = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    port = LocalPort(free_port())
    async with await asyncio.start_server(serve, "127.0.0.1", port.number):
        await asyncio.gather(*(port.doubt() for _ in range(50)))
    assert accepted == 1
