"""The server on real sockets of loopback."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from ktpy.dns import server as server_module
from ktpy.dns.forward import Forwarder
from ktpy.dns.message import Query
from ktpy.dns.records import Rcode
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.stream import framed
from ktpy.dns.zone import Zone
from tests.kit.waiting import until
from tests.unit.dns.kube import endpoint_slice, service
from tests.unit.dns.name_servers import addresses, answering, asked, parsed

WEB, BIG = "web.shop.svc.cluster.local", "db.shop.svc.cluster.local"
TIMEOUT_S = 10.0


class Gate:
    """An upstream exchange that waits to be let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.reached = asyncio.Event()

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        self.reached.set()
        await self.open.wait()
        message = answering("192.0.2.1")(parsed(packet))
        assert message is not None
        return message


@dataclass
class Served:
    server: Server
    resolver: SplitResolver
    gate: Gate
    udp_address: tuple[str, int]
    tcp_address: tuple[str, int]

    def udp(self) -> socket.socket:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)
        client.connect(self.udp_address)
        return client

    async def tcp(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.tcp_address)


async def receive(client: socket.socket) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        return await asyncio.get_running_loop().sock_recv(client, 65535)


async def read(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))


@contextlib.asynccontextmanager
async def serving(
    *, idle_s: float = 10.0, connections_max: int = 8, is_client: Callable[[str], bool] = lambda _: True
) -> AsyncIterator[Served]:
    zone = Zone()
    zone.upsert_service(service("web", "shop", "10.96.0.7"))
    zone.upsert_service(service("db"))
    zone.upsert_endpoint_slice(endpoint_slice("db", "shop", *((f"10.244.1.{n}", None) for n in range(200))))
    zone.synced = True
    gate = Gate()
    resolver = SplitResolver(zone, upstream=Forwarder(gate))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind(("127.0.0.1", 0))
    server = Server(resolver, [udp], [tcp], idle_s=idle_s, connections_max=connections_max, is_client=is_client)
    task = asyncio.create_task(server.serve())
    await asyncio.sleep(0)
    try:
        yield Served(server, resolver, gate, udp.getsockname(), tcp.getsockname())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert udp.fileno() == -1


async def test_an_answer_over_udp() -> None:
    async with serving() as served:
        with served.udp() as client:
            client.send(asked(WEB).data)
            assert addresses(await receive(client)) == ["10.96.0.7"]


async def test_an_answer_that_is_too_long_for_udp_comes_over_tcp() -> None:
    async with serving() as served:
        with served.udp() as client:
            client.send(asked(BIG).data)
            assert parsed(await receive(client)).header.tc
        reader, writer = await served.tcp()
        writer.write(framed(asked(BIG).data))
        assert len(addresses(await read(reader))) == 200
        writer.close()


async def test_edns_makes_room_over_udp() -> None:
    async with serving() as served:
        with served.udp() as client:
            client.send(asked(BIG, edns_bytes=4096).data)
            assert len(parsed(await receive(client)).rr) == 200


async def test_a_slow_outside_name_holds_no_other_up() -> None:
    async with serving() as served:
        with served.udp() as client:
            client.send(asked("example.com", ident=1).data)
            client.send(asked(WEB, ident=2).data)
            assert parsed(await receive(client)).header.id == 2
            served.gate.open.set()
            assert addresses(await receive(client)) == ["192.0.2.1"]


async def test_pipelined_queries_are_answered_as_the_answers_come() -> None:
    async with serving() as served:
        reader, writer = await served.tcp()
        writer.write(framed(asked("example.com", ident=1).data) + framed(asked(WEB, ident=2).data))
        assert parsed(await read(reader)).header.id == 2
        served.gate.open.set()
        assert parsed(await read(reader)).header.id == 1
        writer.close()


async def test_a_query_in_pieces_is_put_together() -> None:
    async with serving() as served:
        reader, writer = await served.tcp()
        for byte in framed(asked(WEB).data):
            writer.write(bytes([byte]))
            await writer.drain()
        assert addresses(await read(reader)) == ["10.96.0.7"]
        writer.close()


async def test_a_client_that_has_said_all_still_gets_its_answers() -> None:
    async with serving() as served:
        reader, writer = await served.tcp()
        writer.write(framed(asked("example.com").data))
        writer.write_eof()
        served.gate.open.set()
        assert addresses(await read(reader)) == ["192.0.2.1"]
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serving(idle_s=0.05) as served:
        reader, writer = await served.tcp()
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert not served.server.connections
        writer.close()


async def test_more_connections_than_allowed_are_closed() -> None:
    async with serving(connections_max=2) as served:
        kept = [await served.tcp() for _ in range(2)]
        for reader, writer in kept:
            writer.write(framed(asked(WEB).data))
            await read(reader)
        reader, writer = await served.tcp()
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        for _, opened in [*kept, (reader, writer)]:
            opened.close()


async def test_a_message_too_short_for_a_header_ends_the_connection() -> None:
    async with serving() as served:
        reader, writer = await served.tcp()
        writer.write(framed(b"x"))
        async with asyncio.timeout(TIMEOUT_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


async def test_a_client_that_does_not_read_does_not_fill_our_memory() -> None:
    """It may still have all its answers later."""
    async with serving() as served:
        reader, writer = await served.tcp()
        count = 5000
        writer.write(framed(asked(BIG).data) * count)  # 200 KB that ask for 16 MB
        await until(lambda: any(c._congested for c in served.server.connections), timeout_s=TIMEOUT_S)
        [connection] = served.server.connections
        assert connection._transport is not None
        assert connection._transport.get_write_buffer_size() < 2**18
        for _ in range(count):
            assert len(await read(reader)) > 3000
        writer.close()


async def test_too_many_waiting_queries_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "PENDING_MAX", 4)
    async with serving() as served:
        with served.udp() as client:
            for number in range(5):
                client.send(asked(f"n{number}.example", ident=number).data)
            answer = parsed(await receive(client))
            assert (answer.header.id, answer.header.rcode) == (4, Rcode.SERVFAIL)
            assert served.server.overloaded == 1
            served.gate.open.set()
            assert {parsed(await receive(client)).header.rcode for _ in range(4)} == {Rcode.NOERROR}


@pytest.mark.parametrize("name", [WEB, "example.com"])
async def test_a_bug_costs_one_answer_not_the_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as served:

        def broken(*_: object, **__: object) -> bytes:
            raise ZeroDivisionError

        with monkeypatch.context() as patched, served.udp() as client:
            patched.setattr(served.resolver, "answer_now" if name == WEB else "answer", broken)
            client.send(asked(name).data)
            assert parsed(await receive(client)).header.rcode == Rcode.SERVFAIL
        with served.udp() as client:
            client.send(asked(WEB).data)
            assert addresses(await receive(client)) == ["10.96.0.7"]


async def test_noise_over_udp_and_tcp_leaves_the_server_standing() -> None:
    seeded = random.Random(53)
    sound = asked(WEB, edns_bytes=1232).data
    async with serving() as served:
        served.gate.open.set()
        with served.udp() as noisy, served.udp() as client:
            for ident in range(100):
                for _ in range(20):
                    data = bytearray(sound)
                    for _ in range(seeded.randrange(8)):
                        data[seeded.randrange(len(data))] = seeded.randrange(256)
                    noisy.send(bytes(data[: seeded.randrange(len(data) + 1)]))
                if ident % 5 == 0:
                    _, writer = await served.tcp()
                    writer.write(seeded.randbytes(seeded.randrange(3000)))
                    writer.close()
                client.send(asked(WEB, ident=ident).data)
                assert parsed(await receive(client)).header.id == ident


async def test_stopping_answers_nobody_and_closes_everything() -> None:
    async with serving() as served:
        reader, writer = await served.tcp()
        writer.write(framed(asked("example.com").data))
        async with asyncio.timeout(TIMEOUT_S):
            await served.gate.reached.wait()
    async with asyncio.timeout(TIMEOUT_S):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


def test_a_query_is_what_reply_now_leaves_over() -> None:
    zone = Zone()
    zone.synced = True
    server = Server(SplitResolver(zone), [], [])
    assert isinstance(server.reply_now(asked("example.com").data, over_tcp=False), Query)


async def test_only_clients_are_answered() -> None:
    allowed = False
    async with serving(is_client=lambda address: address == "127.0.0.1" and allowed) as served:
        with served.udp() as client:
            client.send(asked(WEB, ident=1).data)
            reader, _ = await served.tcp()
            assert await reader.read() == b""  # the query over UDP came before, and was passed over
            allowed = True
            client.send(asked(WEB, ident=2).data)
            assert parsed(await receive(client)).header.id == 2
