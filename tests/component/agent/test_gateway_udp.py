"""UDP ports of a gateway: the real agent, and ktpy's own end of the route, on loopback."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import pytest

from ktpy.errors import LinkLost
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.forwards import serve_forwards
from ktpy.link.key import make_key
from ktpy.link.route import route_command
from ktpy.serve.local_port import LocalPort
from ktpy.serve.local_udp_port import LocalUdpPort
from ktpy.wire.route import FAIL, ORIGIN, RouteCounters, RouteHello, RouteRequest, ServicePort
from tests.component.agent.gateway_pod import GatewayPod, get, web_server
from tests.component.agent.pod import PATIENCE_S
from tests.kit.ports import free_port
from tests.kit.waiting import until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]


class Named(asyncio.DatagramProtocol):
    """Answers each datagram with its name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.clients: set[tuple[str, int]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.clients.add(addr)
        self.transport.sendto(self.name + b" " + data, addr)


@asynccontextmanager
async def named(name: bytes, port: int = 0) -> AsyncIterator[tuple[int, Named]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Named(name), local_addr=("127.0.0.1", port))
    try:
        yield transport.get_extra_info("sockname")[1], server
    finally:
        transport.close()


@contextmanager
def client_of(bind: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", bind))
        yield client


async def ask(client: socket.socket, question: bytes = b"?", within_s: float = 0.5) -> bytes:
    """The answer, nothing where none comes."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within_s):
            await loop.sock_sendall(client, question)
            return await loop.sock_recv(client, 65535)
    except (TimeoutError, ConnectionRefusedError):
        return b""


async def asks_until(client: socket.socket, answer: bytes, question: bytes = b"?") -> None:
    """Ask until this answer comes: an earlier one may be on its way yet."""
    async with asyncio.timeout(PATIENCE_S):
        while await ask(client, question) != answer:
            pass


class Route:
    """A laptop's route, and what it hears of it."""

    def __init__(self, connection: AgentConnection[dict[ServicePort, str]]) -> None:
        self.connection = connection
        self.counters: dict[ServicePort, RouteCounters] = {}


@asynccontextmanager
async def routed(
    pod: GatewayPod,
    ports: dict[ServicePort, LocalPort | LocalUdpPort],
    *,
    session: str = "s1",
    when_down: str = ORIGIN,
) -> AsyncIterator[Route]:
    key = make_key()
    pod.let_in_key(session, key.public_line)
    pod.wait_for_log(rf"authorized sessions: .*\b{session}\b")
    hello = RouteHello(session, "amy", tuple(RouteRequest(one.number, None, when_down, one.protocol) for one in ports))
    counted: dict[ServicePort, RouteCounters] = {}
    command = route_command(hello, counted.update, beat_interval_s=0.2)
    connection = await AgentConnection.open(
        asyncio.get_running_loop(), key, command, AgentServer("127.0.0.1", pod.port)
    )
    route = Route(connection)
    route.counters = counted
    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(port.watch()) for port in ports.values()]
        serving = tasks.create_task(serve_forwards(connection, connection.hello, ports))
        yield route
        connection.close()
        await serving
        for task in watching:
            task.cancel()


async def test_the_laptop_answers_while_it_lives_and_the_original_pods_otherwise(pod: GatewayPod) -> None:
    local_number = free_port()
    async with named(b"origin") as (number, _):
        bind = pod.add_port(number, http=False, protocol="UDP")
        port = ServicePort(number, "UDP")
        with pod.serving(), client_of(bind) as one, client_of(bind) as two:
            await asks_until(one, b"origin ?")
            async with routed(pod, {port: LocalUdpPort(local_number)}) as route:
                assert await ask(one, within_s=PATIENCE_S) == b"origin ?", "nobody serves the local port yet"
                async with named(b"local", local_number) as (_, local):
                    for client in (one, two):
                        await asks_until(client, b"local ?")
                    assert len(local.clients) == 2, "each client has a local socket of its own"
                    await asks_until(two, b"local " + bytes(60_000), bytes(60_000))
                    await until(lambda: route.counters[port].is_up and route.counters[port].requests >= 3, "counters")
                await asks_until(one, b"origin ?")
                await until(lambda: not route.counters[port].is_up and route.counters[port].fallbacks > 0, "fallbacks")
                async with named(b"local", local_number):
                    await asks_until(one, b"local ?")
                    route.connection.lose(LinkLost("The laptop is gone."))
                    await asks_until(one, b"origin ?")


async def test_tcp_and_udp_of_one_number(pod: GatewayPod) -> None:
    with web_server("origin") as number:
        async with named(b"origin", number), named(b"local") as (local_udp, _):
            tcp_bind = pod.add_port(number)
            udp_bind = pod.add_port(number, http=False, protocol="UDP")
            tcp, udp = ServicePort(number), ServicePort(number, "UDP")
            with web_server("local") as local_tcp, pod.serving(), client_of(udp_bind) as client:
                async with routed(pod, {udp: LocalUdpPort(local_udp)}):
                    await asks_until(client, b"local ?")
                    assert (await asyncio.to_thread(get, tcp_bind)).body == "origin"
                async with routed(
                    pod, {tcp: LocalPort(local_tcp), udp: LocalUdpPort(local_udp)}, session="s2"
                ) as route:
                    await asks_until(client, b"local ?")
                    await until(lambda: route.counters.get(tcp, RouteCounters()).is_up, "the TCP port to be served")
                    assert (await asyncio.to_thread(get, tcp_bind)).body == "local"


@pytest.mark.parametrize("has_origin", [True, False], ids=["fail", "preview"])
async def test_nobody_answers_where_the_original_pods_are_not_to(pod: GatewayPod, has_origin: bool) -> None:
    local_number = free_port()
    async with named(b"origin") as (number, origin):
        bind = pod.add_port(number, http=False, protocol="UDP", has_origin=has_origin)
        with pod.serving(), client_of(bind) as client:
            async with routed(pod, {ServicePort(number, "UDP"): LocalUdpPort(local_number)}, when_down=FAIL):
                async with named(b"local", local_number):
                    await asks_until(client, b"local ?")
                origin.clients.clear()
                while await ask(client, within_s=0.1):
                    pass
                assert not origin.clients


async def test_a_relay_that_is_killed_is_started_again_and_told_of_the_routes(pod: GatewayPod) -> None:
    async with named(b"origin") as (number, _), named(b"local") as (local_number, _):
        bind = pod.add_port(number, http=False, protocol="UDP")
        with pod.serving(), client_of(bind) as client:
            async with routed(pod, {ServicePort(number, "UDP"): LocalUdpPort(local_number)}):
                await asks_until(client, b"local ?")
                [relay] = pod.processes("ktpy-agent udp")
                os.kill(relay, signal.SIGKILL)
                await asks_until(client, b"local ?")
