"""Datagrams on a real TUN: real programs at one end, and the agent's relay before hosts at the other."""

import asyncio
import os
import random
import re
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from ktpy_agent.datagrams import DatagramRelay

from ktpy.capture.tun.pump import Pump
from ktpy.wire.datagram import Frame, FrameParser
from tests.net.conftest import ADDRESSES, Cluster, new_network_namespace

HOST4, HOST6 = "10.96.0.10", "fd96::10"
NOWHERE4, NOWHERE6 = "10.96.9.9", "fd96::9:9"
BOTH = pytest.mark.parametrize("host", [HOST4, HOST6], ids=["ipv4", "ipv6"])
ECHO_PORT = 7
UDP_SEGMENT = 103  # linux/udp.h
HAS_BUNDLES = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 2)


def echo_forever(server: socket.socket) -> None:
    while True:
        data, program = server.recvfrom(65535)
        if data == b"end":
            return
        server.sendto(data, program)


class Pod:
    """A host with the cluster's addresses and UDP echo, and the agent's relay; its other end is `laptop`."""

    def __init__(self) -> None:
        self.laptop, self.agent = socket.socketpair()
        self._is_ready = threading.Event()
        self._threads = [threading.Thread(target=self._live)]
        self._threads[0].start()
        assert self._is_ready.wait(60)

    def _live(self) -> None:
        new_network_namespace()
        for command in (
            "link set lo up",
            f"address add {HOST4}/32 dev lo",
            f"address add {HOST6}/128 dev lo nodad",
            f"route add unreachable {NOWHERE4}",
            f"-6 route add unreachable {NOWHERE6}",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        self.servers = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
        for server, host in zip(self.servers, (HOST4, HOST6), strict=True):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            server.bind((host, ECHO_PORT))
            self._threads.append(threading.Thread(target=echo_forever, args=(server,)))
            self._threads[-1].start()
        register, _supervisor = socket.socketpair()
        with register, _supervisor:
            relay = DatagramRelay(self.agent.fileno(), os.dup(self.agent.fileno()), register)
            self._is_ready.set()
            relay.serve(60.0)
        for server in self.servers:
            server.sendto(b"end", server.getsockname())

    def close(self) -> None:
        self.laptop.close()
        for thread in self._threads:
            thread.join()
        for server in (*self.servers, self.agent):
            server.close()


class Way(asyncio.Protocol):
    """The frames' way, without a tunnel."""

    is_up = True
    receive: Callable[[list[Frame]], None]

    def __init__(self) -> None:
        self._reader = FrameParser()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.receive(self._reader.feed(data))

    def send(self, frames: bytes) -> bool:
        self._transport.write(frames)
        return True


@pytest.fixture
def pod(tun_fd: int) -> Iterator[Pod]:
    made = Pod()
    yield made
    made.close()


@pytest_asyncio.fixture
async def carrying(pod: Pod, tun_fd: int, cluster: Cluster) -> AsyncIterator[Pump]:
    """A pump that carries datagrams to the pod."""
    transport, way = await asyncio.get_running_loop().create_connection(Way, sock=pod.laptop)
    pump = await Pump.start(tun_fd, ADDRESSES, cluster.dial, way=way)
    way.receive = pump.deliver
    yield pump
    await pump.aclose()
    transport.close()


def program(host: str, port: int = ECHO_PORT) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(60)
    made.connect((host, port))
    return made


async def echoed(host: str, *payloads: bytes) -> list[bytes]:
    def talk() -> list[bytes]:
        with program(host) as app:
            found = []
            for payload in payloads:
                app.send(payload)
                found.append(app.recv(65535))
            return found

    return await asyncio.to_thread(talk)


@BOTH
async def test_of_every_size(carrying: Pump, host: str) -> None:
    payloads = [bytes(size) for size in (0, 1, 1200, 1472, 1473, 9000, 65000, 65507)]
    assert await echoed(host, *payloads) == payloads
    assert carrying.datagrams is not None
    assert carrying.datagrams.counters.received == len(payloads)


@BOTH
async def test_a_closed_port(carrying: Pump, host: str) -> None:
    def ask() -> None:
        with program(host, 9) as app:
            app.send(b"anybody?")
            app.recv(9)

    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(ask)


@BOTH
@pytest.mark.skipif(not HAS_BUNDLES, reason="bundles of datagrams are of Linux 6.2")
async def test_a_program_that_sends_bundles(carrying: Pump, host: str) -> None:
    """As QUIC libraries do, by UDP_SEGMENT."""
    payload = random.Random(1).randbytes(10_500)

    def talk() -> bytes:
        with program(host) as app:
            app.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
            app.send(payload)
            return b"".join(app.recv(65535) for _ in range(11))

    assert await asyncio.to_thread(talk) == payload
    assert carrying.packets.read_packets < 11
    assert carrying.datagrams is not None
    assert carrying.datagrams.counters.sent == 11


async def ping(host: str, *options: str) -> str:
    command = ["ping", "-n", "-c", "3", "-i", "0.1", "-W", "20", *options, host]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    return str(done.stdout)


@BOTH
@pytest.mark.parametrize("size", ["16", "56", "3000", "60000"])
async def test_ping(carrying: Pump, host: str, size: str) -> None:
    output = await ping(host, "-s", size)
    assert "3 packets transmitted, 3 received, 0% packet loss" in output
    assert len(re.findall(r"icmp_seq=\d ttl=\d+ time=[\d.]+ ms", output)) == 3


@pytest.mark.parametrize("host", [NOWHERE4, NOWHERE6], ids=["ipv4", "ipv6"])
async def test_ping_of_a_host_that_cannot_be_reached(carrying: Pump, host: str) -> None:
    output = await ping(host)
    assert "0 received, +3 errors" in output
    assert "nreachable" in output


async def test_many_programs_at_once(carrying: Pump) -> None:
    async def one(number: int) -> bool:
        payloads = [b"%d %d" % (number, turn) for turn in range(20)]
        return await echoed(HOST6 if number % 2 else HOST4, *payloads) == payloads

    async with asyncio.timeout(60):
        assert all(await asyncio.gather(*(one(number) for number in range(30))))
    assert carrying.datagrams is not None
    assert carrying.datagrams.open_flows == 30
