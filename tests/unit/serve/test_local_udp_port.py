"""Real UDP sockets of this machine's loopback."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ktpy.serve import local_udp_port
from ktpy.serve.local_udp_port import LocalUdpPort
from tests.kit.ports import free_port


@contextmanager
def bound(address: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, port))
        server.setblocking(False)
        yield server


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::"])
async def test_a_socket_on_either_loopback_address_is_found_without_a_datagram(address: str) -> None:
    with bound(address) as server:
        port = LocalUdpPort(server.getsockname()[1])
        assert await port.probe()
        with pytest.raises(BlockingIOError):
            server.recv(1)
        with port.open_socket() as client:
            client.send(b"hello")
            assert server.recv(100) == b"hello"


async def test_a_port_that_nobody_is_bound_to_is_down() -> None:
    port = LocalUdpPort(free_port())
    assert not await port.probe()
    assert str(port) == f"local UDP port {port.number}"


async def test_a_client_that_talks_from_the_port_serves_nobody() -> None:
    with bound() as other, bound() as client:
        client.connect(other.getsockname())
        assert not await LocalUdpPort(client.getsockname()[1]).probe()


async def test_a_refused_datagram_takes_it_down_before_the_next_probe() -> None:
    with bound() as server:
        port = LocalUdpPort(server.getsockname()[1])
        await port.probe()
    port.refuse()
    await port.wait_down()
    assert not port.is_up


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
async def test_where_the_kernel_does_not_tell_an_empty_datagram_does(
    host: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untold(_port: int) -> None:
        raise OSError

    monkeypatch.setattr(local_udp_port, "udp_address", untold)
    with bound() as server:
        port = LocalUdpPort(server.getsockname()[1], host=host)
        assert await port.probe()
        assert server.recv(1) == b""
    port.refuse()
    assert not await port.probe()


async def test_a_port_of_another_host_is_left_alone_while_it_is_up() -> None:
    with bound("127.0.0.2") as server:
        port = LocalUdpPort(server.getsockname()[1], host="127.0.0.2")
        assert await port.probe()
        assert server.recv(1) == b""
        assert await port.probe()
        with pytest.raises(BlockingIOError):
            server.recv(1)


async def test_a_host_without_an_address_is_down() -> None:
    assert not await LocalUdpPort(53, host="no-such-host.invalid").probe()


async def test_watching_notices_who_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[bool] = []
    port = LocalUdpPort(free_port(), lambda: changes.append(port.is_up))
    watching = asyncio.create_task(port.watch())
    async with asyncio.timeout(5):
        with bound(port=port.number):
            await port.wait_up()
        await port.wait_down()
    watching.cancel()
    assert changes == [True, False]
