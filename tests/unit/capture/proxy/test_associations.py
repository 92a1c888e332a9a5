"""UDP ASSOCIATE: datagrams to the cluster as frames, others by a socket of this machine's, and only this user's."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest

from ktpy.capture.proxy import associations
from ktpy.capture.proxy.server import ProxyServer
from ktpy.capture.proxy.socks import render_datagram
from ktpy.wire.datagram import DATAGRAM, FAILED, FORGET, Frame, FrameParser, mapped
from tests.kit.waiting import until
from tests.unit.capture.proxy.running import POD, Client, proxying

ASSOCIATE = b"\x05\x01\x00\x05\x03\x00\x01" + bytes(6)
WEB = b"\x00\x00\x00\x03\x03web\x00\x35"
IPV6 = b"\x00\x00\x00\x04" + ip_address("fd44::7").packed + b"\x00\x35"


class Way:
    """The agent's end: what was sent to it."""

    is_up = True

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.is_full = False

    def send(self, frames: bytes) -> bool:
        self.frames += FrameParser().feed(frames)
        return not self.is_full


@pytest.fixture
def way() -> Way:
    return Way()


@pytest.fixture
async def proxy(way: Way) -> AsyncIterator[ProxyServer]:
    async with proxying(datagrams=way) as proxy:
        yield proxy


@contextmanager
def datagrams() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        yield client


async def associate(client: Client) -> tuple[str, int]:
    reply = await client.ask(ASSOCIATE, 12)
    assert reply[:10] == b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01"
    return "127.0.0.1", int.from_bytes(reply[10:], "big")


async def test_to_the_cluster_and_back(proxy: ProxyServer, way: Way) -> None:
    loop = asyncio.get_running_loop()
    async with Client.of(proxy) as client:
        port = await associate(client)
        with datagrams() as program:
            program.sendto(WEB + b"one", port)
            await until(lambda: len(way.frames) == 1)
            program.sendto(WEB + b"two", port)
            await until(lambda: len(way.frames) == 2)
            pod = mapped(ip_address(POD).packed)
            assert way.frames == [Frame(DATAGRAM, 1, 53, pod, b"one"), Frame(DATAGRAM, 1, 53, pod, b"two")]
            proxy.deliver([Frame(DATAGRAM, 1, 53, pod, b"answer"), Frame(DATAGRAM, 9, 53, pod, b"of nobody")])
            proxy.deliver([Frame(FAILED, 1, 53, pod, b"")])
            assert await loop.sock_recv(program, 100) == render_datagram(ip_address(POD).packed, 53, b"answer")
            assert (proxy.datagram_flows, proxy.counters.datagrams) == (1, 2)
    await until(lambda: proxy.datagram_flows == 0)
    assert [(frame.kind, frame.flow) for frame in way.frames[2:]] == [(FORGET, 1)]


async def test_each_family_has_a_flow_of_its_own(proxy: ProxyServer, way: Way) -> None:
    proxy.dialler.networks.append(ip_network("fd44::/64"))
    async with Client.of(proxy) as client:
        port = await associate(client)
        with datagrams() as program:
            for said in (WEB, IPV6, WEB, IPV6):
                program.sendto(said, port)
            await until(lambda: len(way.frames) == 4)
    assert sorted(frame.flow for frame in way.frames[:4]) == [1, 1, 2, 2]


async def test_what_is_not_the_clusters_goes_out_directly(proxy: ProxyServer, way: Way) -> None:
    loop = asyncio.get_running_loop()
    with datagrams() as outside, datagrams() as program:
        outside.bind(("127.0.0.1", 0))
        port = outside.getsockname()[1]
        async with Client.of(proxy) as client:
            program.sendto(
                b"\x00\x00\x00\x01\x7f\x00\x00\x01" + port.to_bytes(2, "big") + b"hi", await associate(client)
            )
            said, sender = await loop.sock_recvfrom(outside, 100)
            outside.sendto(said.upper(), sender)
            assert await loop.sock_recv(program, 100) == render_datagram(bytes((127, 0, 0, 1)), port, b"HI")
    assert way.frames == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x00\x01" + WEB[3:] + b"a fragment",
        b"\x00\x00\x00\x02" + bytes(8),
        b"\x00\x00\x00\x03\xffweb\x00\x35",
        b"\x00\x00\x00\x03\x03web\x00\x00",
        b"\x00\x00\x00\x03\x06absent\x00\x35",
        b"\x00\x00\x00\x01\x0a",
    ],
)
async def test_what_is_no_datagram_of_socks_is_dropped(proxy: ProxyServer, way: Way, said: bytes) -> None:
    async with Client.of(proxy) as client:
        port = await associate(client)
        with datagrams() as program:
            program.sendto(said, port)
            await until(lambda: proxy.counters.datagrams_dropped == 1)
    assert way.frames == []


@pytest.mark.parametrize("owner", [None, os.getuid() + 1])
async def test_other_users_datagrams_are_dropped(
    proxy: ProxyServer, way: Way, monkeypatch: pytest.MonkeyPatch, owner: int | None
) -> None:
    async with Client.of(proxy) as client:
        port = await associate(client)
        monkeypatch.setattr(associations, "owner_of", lambda *_: owner)
        with datagrams() as program:
            program.sendto(WEB + b"x", port)
            await until(lambda: proxy.counters.datagrams_dropped == 1)
    assert way.frames == []


async def test_a_full_tunnel_is_counted(proxy: ProxyServer, way: Way) -> None:
    way.is_full = True
    async with Client.of(proxy) as client:
        with datagrams() as program:
            program.sendto(WEB + b"x", await associate(client))
            await until(lambda: proxy.counters.datagrams_dropped == 1)


async def test_an_answer_that_has_no_room_for_the_header_of_socks_is_dropped(proxy: ProxyServer, way: Way) -> None:
    loop, pod = asyncio.get_running_loop(), mapped(ip_address(POD).packed)
    async with Client.of(proxy) as client:
        with datagrams() as program:
            program.sendto(WEB + b"x", await associate(client))
            await until(lambda: len(way.frames) == 1)
            for payload in (bytes(65507), b"the next"):
                proxy.deliver([Frame(DATAGRAM, 1, 53, pod, payload)])
            assert await loop.sock_recv(program, 100) == render_datagram(ip_address(POD).packed, 53, b"the next")
            assert proxy.counters.datagrams_dropped == 1


async def test_too_many_are_refused(proxy: ProxyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associations, "ASSOCIATIONS_MAX", 1)
    async with Client.of(proxy) as one, Client.of(proxy) as other:
        await associate(one)
        assert await other.ask(ASSOCIATE) == b"\x05\x00\x05\x01\x00\x01" + bytes(6)
    async with Client.of(proxy) as one:
        await associate(one)


async def test_with_a_login_none_are_carried(way: Way) -> None:
    """No datagram shows that its sender knows the password."""
    async with proxying(("ktpy", "secret"), datagrams=way) as proxy, Client.of(proxy) as client:
        said = b"\x05\x01\x02" + b"\x01\x04ktpy\x06secret" + ASSOCIATE[3:]
        assert (await client.ask(said))[4:6] == b"\x05\x07"
