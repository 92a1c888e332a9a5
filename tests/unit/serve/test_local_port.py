import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

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


async def test_a_listener_that_does_not_accept_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ktpy.serve.local_port.CONNECT_TIMEOUT_S", 0.1)
    with socket.socket() as full, socket.socket() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting.connect(full.getsockname())
        assert not await LocalPort(full.getsockname()[1]).probe()
