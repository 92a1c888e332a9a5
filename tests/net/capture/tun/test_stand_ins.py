"""A network of the machine with the same addresses as the cluster: both are reached, on a real TUN."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network

import pytest
import pytest_asyncio

from ktpy.capture.tun.pump import Pump
from ktpy.cluster.routing.ranges import RoutedRange, refuse_overlaps
from ktpy.cluster.routing.stand_in_pool import StandInPool
from ktpy.errors import RangeOverlap
from ktpy.helper.routes import ALIAS_PREFIX, add_routes, local_networks, set_up_link
from ktpy.helper.tun import open_device
from ktpy.packet.stand_ins import StandIns
from tests.net.capture.tun.test_datagrams import HOST4, HOST6, Pod, Way, echoed, ping
from tests.net.conftest import ADDRESSES, TUN, TUN_NAME, Cluster, ip, new_network_namespace

SERVICES = [RoutedRange(ip_network(text), "services", "a test") for text in ("10.96.0.0/16", "fd96::/108")]
SEEN4, SEEN6, SEEN_NOWHERE4 = "240.0.0.10", "fd6b:7472::10", "240.0.9.9"
"""What stands in for HOST4, HOST6 and an address that the pod cannot reach."""


class Neighbour:
    """A host of the local network with the same addresses as the cluster's: whoever connects is greeted."""

    def __init__(self) -> None:
        self._has_network, self._is_linked, self._is_listening = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        assert self._has_network.wait(5)
        ip("link", "add", "lan0", "type", "veth", "peer", "name", "far0", "netns", str(self._thread.native_id))
        self._join("lan0", "10.96.0.2/16", "fd96::2/108")
        self._is_linked.set()
        assert self._is_listening.wait(5)

    @staticmethod
    def _join(link: str, address4: str, address6: str) -> None:
        ip("address", "add", address4, "dev", link)
        ip("address", "add", address6, "dev", link, "nodad")
        ip("link", "set", link, "up")

    def _live(self) -> None:
        new_network_namespace()
        self._has_network.set()
        assert self._is_linked.wait(5)
        self._join("far0", f"{HOST4}/16", f"{HOST6}/108")
        self._server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        self._is_listening.set()
        while True:
            try:
                guest, _ = self._server.accept()
            except OSError:  # closed
                return
            guest.sendall(b"home")
            guest.close()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@pytest.fixture
def neighbour(network_namespace: None) -> Iterator[Neighbour]:
    made = Neighbour()
    yield made
    made.close()


@pytest.fixture
def beside(neighbour: Neighbour) -> Iterator[tuple[int, StandIns]]:
    """A TUN for the cluster beside the neighbour, routed as `connect` does."""
    local, stand_ins, fd = local_networks(), StandIns(), open_device(TUN_NAME)
    with pytest.raises(RangeOverlap, match="/16 on lan0"):
        refuse_overlaps(SERVICES, local)
    opened = set_up_link(TUN, f"{ALIAS_PREFIX}test")
    routed = StandInPool([], (one.network for one in local), stand_ins).translated(SERVICES, local, [])
    refuse_overlaps(routed, local)
    add_routes(opened.interface_index, [one.routed for one in routed])
    yield fd, stand_ins
    os.close(fd)


@pytest_asyncio.fixture
async def pump(beside: tuple[int, StandIns], cluster: Cluster) -> AsyncIterator[Pump]:
    """A pump on it; the pod carries datagrams."""
    fd, stand_ins = beside
    pod = Pod()
    transport, way = await asyncio.get_running_loop().create_connection(Way, sock=pod.laptop)
    pump = await Pump.start(fd, ADDRESSES, cluster.dial, way=way, stand_ins=stand_ins)
    way.receive = pump.deliver
    yield pump
    await pump.aclose()
    transport.close()
    pod.close()


async def greeting(host: str) -> bytes:
    reader, writer = await asyncio.open_connection(host, 80)
    try:
        return await reader.read(16)
    finally:
        writer.close()


@pytest.mark.parametrize(("host", "seen"), [(HOST4, SEEN4), (HOST6, SEEN6)], ids=["ipv4", "ipv6"])
async def test_both_sides_are_reached(pump: Pump, cluster: Cluster, host: str, seen: str) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"cluster")

    await cluster.serve(host, 80, greet)
    async with asyncio.timeout(20):
        assert [await greeting(seen), await greeting(host)] == [b"cluster", b"home"]
        assert cluster.dialled == [(host, 80)]
        assert await echoed(seen, b"", b"hello", bytes(9000)) == [b"", b"hello", bytes(9000)]
        for one in (seen, host):
            assert "3 packets transmitted, 3 received, 0% packet loss" in await ping(one)
    assert pump.datagrams is not None
    assert pump.datagrams.counters.received == 6  # and no ping of the neighbour


async def test_an_unreachable_host_of_the_cluster_is_told_by_its_stand_in(pump: Pump) -> None:
    assert "From 240.0.9.9 icmp_seq=1 Destination Host Unreachable" in await ping(SEEN_NOWHERE4)
