"""Ports that lead into a dev container, which is this machine here."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any, cast

import pytest

from ktpy.capture.spec import listen_on_loopback
from ktpy.errors import LocalPortTaken
from ktpy.sessions.dev_ports import forwarded, listening
from ktpy.sessions.options import Publish


class Container:
    """Where a program listens on one address, by which it was dialled."""

    def __init__(self, address: str | None, port: int = 0) -> None:
        self.address, self.port = address, port
        self.dialled: list[str] = []

    async def create_connection(self, make: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        self.dialled.append(f"{host} {port}")
        if host != self.address:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        return await asyncio.get_running_loop().create_connection(make, "127.0.0.1", self.port)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()


@pytest.mark.parametrize(("address", "dialled"), [("127.0.0.1", ["127.0.0.1 80"]), ("::1", ["127.0.0.1 80", "::1 80"])])
async def test_a_connection_to_either_loopback_address(address: str, dialled: list[str]) -> None:
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        container = Container(address, server.sockets[0].getsockname()[1])
        with listening([Publish(0, 80)]) as listeners:
            async with forwarded(listeners, cast("Any", container)) as [line]:
                local = listeners[0][1].getsockname()[1]
                assert line == f"127.0.0.1:{local} is port 80 of the dev container"
                reader, writer = await asyncio.open_connection("127.0.0.1", local)
                writer.write(b"here")
                writer.write_eof()
                assert await reader.read() == b"here"
                writer.close()
    assert container.dialled == dialled


async def test_nobody_listens_there() -> None:
    with listening([Publish(0, 80)]) as listeners:
        async with forwarded(listeners, cast("Any", Container(None))):
            reader, writer = await asyncio.open_connection("127.0.0.1", listeners[0][1].getsockname()[1])
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()


def test_a_port_that_is_taken() -> None:
    with listen_on_loopback(0) as taken:
        port = taken.getsockname()[1]
        told = rf"Port {port} of 127\.0\.0\.1.*nothing was changed"
        with pytest.raises(LocalPortTaken, match=told) as refused, listening([Publish(0, 80), Publish(port, 81)]):
            raise AssertionError
        assert refused.value.hint == "Choose another one of this laptop: --forward LOCAL:81"
