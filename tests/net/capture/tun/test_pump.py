"""The data plane on a real TUN: real apps (blocking sockets in threads) reach real servers through the kernel."""

import asyncio
import contextlib
import errno
import hashlib
import http.client
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scapy.layers.inet import TCP

from ktpy.capture.tun import pump as pump_module
from ktpy.capture.tun.packet_tap import SeenPacket
from ktpy.capture.tun.pump import Pump
from ktpy.errors import TunUnavailable
from ktpy.helper.flow_program import attach
from ktpy.packet.headers import Drop
from ktpy.packet.packet_filter import parse_filter
from ktpy.pcap.lines import decoded
from tests.kit.waiting import until
from tests.net.conftest import ADDRESSES, DIAL_TIMEOUT_S, TUN_NAME, Cluster, ip

SERVICE4, SERVICE6 = "10.96.0.10", "fd96::10"
BOTH = pytest.mark.parametrize("service", [SERVICE4, SERVICE6], ids=["ipv4", "ipv6"])
AT_ONCE_S = 0.9
"""Before the kernel repeats its SYN, which it does after 1 s."""
BULK_BYTES = 64 * 2**20
CHUNK = random.Random(4).randbytes(2**20)


@pytest.fixture(params=["by the main process", "by the kernel"])
def flow_map(request: pytest.FixtureRequest, tun_fd: int) -> Iterator[int | None]:
    """Everything holds whoever turns packets round."""
    if request.param == "by the main process":
        yield None
        return
    map_fd = attach(socket.if_nametoindex(TUN_NAME))
    yield map_fd
    os.close(map_fd)


def connect(address: str, port: int = 80, timeout_s: float = 60.0) -> socket.socket:
    return socket.create_connection((address, port), timeout=timeout_s)


def connect_error(address: str, port: int) -> int | str | None:
    """The errno of connecting, or what it is connected to.

    Linux may wake poll(2) for an ICMP error before SO_ERROR tells of it, about once in a thousand times on a busy
    machine: then connecting seems to be done, and the first use of the socket says what was wrong.
    """
    try:
        with connect(address, port) as app:
            app.send(b"")
            return str(app)
    except OSError as refused:
        return refused.errno


def read_all(app: socket.socket) -> bytes:
    data = bytearray()
    while chunk := app.recv(65536):
        data += chunk
    return bytes(data)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await writer.drain()


def get(address: str) -> bytes:
    connection = http.client.HTTPConnection(address, 80, timeout=60)
    connection.request("GET", "/")
    try:
        return connection.getresponse().read()
    finally:
        connection.close()


# --- connections that work


@BOTH
async def test_get(pump: Pump, cluster: Cluster, service: str) -> None:
    await cluster.serve(service, 80, web)
    assert await asyncio.to_thread(get, service) == b"hello"
    assert cluster.dialled == [(service, 80)]
    assert pump.traffic.received_bytes > 0
    assert pump.traffic.sent_bytes > 0


@BOTH
async def test_a_tap_sees_what_the_program_sends_and_gets_and_costs_nothing_without_one(
    pump: Pump, cluster: Cluster, service: str
) -> None:
    await cluster.serve(service, 80, web)
    assert (pump._readv, pump._write_fd) == (os.readv, os.write)
    with pump.tapped(parse_filter("tcp port 80", lambda _: []), 1 << 18) as tap, pump.tapped(bool, 40) as other:
        assert await asyncio.to_thread(get, service) == b"hello"
        await until(lambda: not pump.open_flows)
        seen = [far_end_and_flags(one) for one in await tap.take(100)]
        assert len(await other.take(100)) >= len(seen)
    assert (pump._readv, pump._write_fd) == (os.readv, os.write)
    assert {far for _, far, _ in seen} == {service}
    assert [flags for is_sent, _, flags in seen if is_sent][:2] == ["S", "A"]
    assert next(flags for is_sent, _, flags in seen if not is_sent) == "SA"


def far_end_and_flags(one: SeenPacket) -> tuple[bool, str, str]:
    return one.is_sent, str(one.ends[one.is_sent]), str(decoded(one.data)[TCP].flags)


@BOTH
async def test_200_flows_at_once(pump: Pump, cluster: Cluster, service: str) -> None:
    await cluster.serve(service, 80, echo)

    def talk() -> bool:
        apps = [connect(service) for _ in range(200)]
        for number, app in enumerate(apps):
            app.sendall(b"%d" % number)
        answers = [app.recv(100) for app in apps]
        for app in apps:
            app.close()
        return answers == [b"%d" % number for number in range(200)]

    assert await asyncio.to_thread(talk)
    assert len(cluster.dialled) == 200
    assert pump.flows.admitted == 200


@BOTH
async def test_a_bulk_download_arrives_whole(pump: Pump, cluster: Cluster, service: str) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(BULK_BYTES // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()

    await cluster.serve(service, 80, send)

    def receive() -> str:
        digest = hashlib.sha256()
        with connect(service) as app:
            while chunk := app.recv(2**20):
                digest.update(chunk)
        return digest.hexdigest()

    expected = hashlib.sha256(CHUNK * (BULK_BYTES // len(CHUNK))).hexdigest()
    assert await asyncio.to_thread(receive) == expected


@BOTH
async def test_a_bulk_upload_arrives_whole(pump: Pump, cluster: Cluster, service: str) -> None:
    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        digest = hashlib.sha256()
        while chunk := await reader.read(2**20):
            digest.update(chunk)
        writer.write(digest.hexdigest().encode())
        await writer.drain()

    await cluster.serve(service, 80, receive)

    def send() -> str:
        with connect(service) as app:
            for _ in range(BULK_BYTES // len(CHUNK)):
                app.sendall(CHUNK)
            app.shutdown(socket.SHUT_WR)
            return read_all(app).decode()

    expected = hashlib.sha256(CHUNK * (BULK_BYTES // len(CHUNK))).hexdigest()
    assert await asyncio.to_thread(send) == expected


@BOTH
async def test_data_that_the_kernel_turns_round_comes_by_the_tun_only_while_it_is_shown(
    pump: Pump, cluster: Cluster, flow_map: int | None, service: str
) -> None:
    await cluster.serve(service, 80, echo)
    with await asyncio.to_thread(connect, service) as app:

        async def talk() -> int:
            """So many packets of 100 questions and answers come by the TUN."""
            before = pump.packets.read_packets
            for number in range(100):
                question = b"%04d" % number
                await asyncio.to_thread(app.sendall, question)
                assert await asyncio.to_thread(app.recv, 100) == question
            return pump.packets.read_packets - before

        await talk()
        assert (await talk() < 10) == (flow_map is not None)
        with pump.tapped(parse_filter("tcp port 80", lambda _: []), 1 << 18) as tap:
            assert await talk() >= 200
            assert await tap.take(1000)
        assert (await talk() < 10) == (flow_map is not None)
    assert pump.flows.bypassing == (flow_map is not None)


@BOTH
async def test_an_app_that_ends_its_side_still_gets_the_answer(pump: Pump, cluster: Cluster, service: str) -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()

    await cluster.serve(service, 80, answer_at_the_end)

    def talk() -> bytes:
        with connect(service) as app:
            app.sendall(b"question")
            app.shutdown(socket.SHUT_WR)
            return read_all(app)

    assert await asyncio.to_thread(talk) == b"QUESTION"


async def test_a_server_that_ends_its_side_still_gets_the_rest(pump: Pump, cluster: Cluster) -> None:
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        got.set_result(await reader.read())

    await cluster.serve(SERVICE4, 80, listen_after_the_end)

    def talk() -> bytes:
        with connect(SERVICE4) as app:
            end = app.recv(1)
            app.sendall(b"the rest")
            return end

    assert await asyncio.to_thread(talk) == b""
    assert await asyncio.wait_for(got, 60) == b"the rest"


@BOTH
async def test_a_server_may_speak_first(pump: Pump, cluster: Cluster, service: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        await reader.read()

    await cluster.serve(service, 25, greet)

    def talk() -> bytes:
        with connect(service, 25) as app:
            return app.recv(100)

    assert await asyncio.to_thread(talk) == b"220 ready\r\n"


async def test_an_app_that_reads_late_gets_every_byte(pump: Pump, cluster: Cluster) -> None:
    """The server and the relay are done long before the app has read: the flow must stay until it has."""
    size = 2 * 2**20

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNK * 2)
        await writer.drain()

    await cluster.serve(SERVICE4, 80, send)

    def dawdle() -> int:
        app = socket.socket()
        app.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        app.settimeout(60)
        with app:
            app.connect((SERVICE4, 80))
            app.shutdown(socket.SHUT_WR)
            time.sleep(2)  # longer than the pump lingers
            return len(read_all(app))

    assert await asyncio.to_thread(dawdle) == size


async def test_a_slow_app_holds_the_server_back(pump: Pump, cluster: Cluster) -> None:
    """What is buffered on the way is bounded, in both directions."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(CHUNK)
            await writer.drain()
            sent += len(CHUNK)

    await cluster.serve(SERVICE4, 80, flood)
    app = await asyncio.to_thread(connect, SERVICE4)
    with app:
        previous = -1
        async with asyncio.timeout(60):
            while previous != sent:
                previous = sent
                await asyncio.sleep(0.5)
    assert 0 < sent < 64 * 2**20


async def test_an_idle_flow_stays(pump: Pump, cluster: Cluster) -> None:
    """No timer of ours runs against an open flow: many rounds of expiry, with clocks far ahead, change nothing."""
    await cluster.serve(SERVICE4, 80, echo)
    with await asyncio.to_thread(connect, SERVICE4) as app:
        await until(lambda: pump.open_flows == 1)
        app.sendall(b"before")
        assert await asyncio.to_thread(app.recv, 100) == b"before"
        for hours in range(1, 25):
            pump._table.expire(time.monotonic() + 3600 * hours)
            pump._relay.expire(time.monotonic() + 3600 * hours)
        app.sendall(b"after")
        assert await asyncio.to_thread(app.recv, 100) == b"after"


# --- connections that do not


async def quickest_s(fail: Callable[[], object], error: int) -> float:
    """How long the quickest of three took, which all fail so: others work on this machine, too."""

    def took_s() -> float:
        began_s = time.monotonic()
        assert fail() == error
        return time.monotonic() - began_s

    return min([await asyncio.to_thread(took_s) for _ in range(3)])


@BOTH
async def test_a_closed_port_is_refused_at_once(pump: Pump, cluster: Cluster, service: str) -> None:
    cluster.fail(service, 81, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    assert await quickest_s(lambda: connect_error(service, 81), errno.ECONNREFUSED) < AT_ONCE_S
    assert pump.flows.refused == 3


@BOTH
@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT])
async def test_a_dead_host_is_unreachable_at_once(pump: Pump, cluster: Cluster, service: str, code: int) -> None:
    cluster.fail(service, 82, OSError(code, "no route"))
    assert await quickest_s(lambda: connect_error(service, 82), errno.EHOSTUNREACH) < AT_ONCE_S
    assert pump.flows.unreachable == 3


@BOTH
async def test_a_host_that_never_answers_is_unreachable_after_the_time_out(
    pump: Pump, cluster: Cluster, service: str
) -> None:
    start_s = time.monotonic()
    with pytest.raises(OSError, match="No route to host"):
        await asyncio.to_thread(connect, service, 83, 60)
    assert DIAL_TIMEOUT_S - 0.1 < time.monotonic() - start_s < DIAL_TIMEOUT_S + 10


@BOTH
async def test_while_the_link_is_lost_new_connections_wait_for_it(pump: Pump, cluster: Cluster, service: str) -> None:
    cluster.is_up.clear()
    await cluster.serve(service, 80, web)
    asyncio.get_running_loop().call_later(0.5, cluster.is_up.set)
    assert await asyncio.to_thread(get, service) == b"hello"


@BOTH
async def test_when_the_link_stays_lost_new_connections_are_unreachable_after_the_time_out(
    pump: Pump, cluster: Cluster, service: str
) -> None:
    """However many wait: none waits for another."""
    cluster.is_up.clear()
    start_s = time.monotonic()
    errors = await asyncio.gather(*(asyncio.to_thread(connect_error, service, port) for port in range(1000, 1004)))
    assert errors == [errno.EHOSTUNREACH] * 4
    assert DIAL_TIMEOUT_S - 0.1 < time.monotonic() - start_s < DIAL_TIMEOUT_S + 10
    assert cluster.dialled == []


async def test_a_broken_link_refuses(pump: Pump, cluster: Cluster) -> None:
    cluster.fail(SERVICE4, 84, OSError(errno.EPIPE, "the tunnel is gone"))
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(connect, SERVICE4, 84)


@BOTH
async def test_a_slow_dial_gives_one_connection(pump: Pump, cluster: Cluster, service: str) -> None:
    """The kernel repeats its SYN after 1 s: the copy is dropped, and not dialled."""
    await cluster.serve(service, 80, web)
    cluster.delay_s = 1.5
    assert await asyncio.to_thread(get, service) == b"hello"
    assert cluster.dialled == [(service, 80)]
    assert pump.flows.dropped[Drop.HELD] >= 1


async def test_an_app_that_gives_up_while_its_flow_is_dialled_leaves_nothing(pump: Pump, cluster: Cluster) -> None:
    closed = asyncio.Event()

    async def wait_for_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        finally:
            closed.set()

    await cluster.serve(SERVICE4, 80, wait_for_end)
    cluster.delay_s = 0.5
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(connect, SERVICE4, 80, 0.1)
    await asyncio.wait_for(closed.wait(), 60)
    await until(lambda: len(pump._table) == 0)


# --- resets


@BOTH
async def test_a_reset_by_the_server_reaches_the_app(pump: Pump, cluster: Cluster, service: str) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock: Any = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    await cluster.serve(service, 80, reset)

    def talk() -> None:
        with connect(service) as app:
            app.sendall(b"x")
            app.recv(1)

    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(talk)


@BOTH
async def test_a_reset_by_the_app_reaches_the_server(pump: Pump, cluster: Cluster, service: str) -> None:
    outcome: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def read_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            outcome.set_result(None)
        except ConnectionError as exc:
            outcome.set_result(exc)

    await cluster.serve(service, 80, read_on)

    def reset() -> None:
        app = connect(service)
        app.sendall(b"x")
        app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        app.close()

    await asyncio.to_thread(reset)
    assert isinstance(await asyncio.wait_for(outcome, 60), ConnectionResetError)


async def test_a_reset_is_noticed_while_the_server_does_not_read(pump: Pump, cluster: Cluster) -> None:
    """The relay does not read from the app then, so only the reset packet itself tells."""

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport: Any = writer.transport
        transport.pause_reading()
        await asyncio.sleep(30)

    await cluster.serve(SERVICE4, 80, never_read)

    def fill_and_reset() -> None:
        app = connect(SERVICE4, 80, 0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                app.send(CHUNK)
        app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        app.close()

    await asyncio.to_thread(fill_and_reset)
    await until(lambda: pump.open_flows == 0, timeout_s=5)


async def test_a_connection_older_than_the_pump_is_reset(tun_fd: int, cluster: Cluster) -> None:
    await cluster.serve(SERVICE4, 80, echo)
    first = await Pump.start(tun_fd, ADDRESSES, cluster.dial)
    app = await asyncio.to_thread(connect, SERVICE4)
    await until(lambda: first.open_flows == 1)
    first._stop()  # as if its process had been killed: nobody tells the app
    second = await Pump.start(tun_fd, ADDRESSES, cluster.dial)
    app.sendall(b"x")
    with app, pytest.raises(ConnectionResetError):
        await asyncio.to_thread(app.recv, 1)
    await second.aclose()
    await first.aclose()


# --- the acceptor


async def test_a_stranger_at_the_acceptor_is_turned_away(pump: Pump) -> None:
    port = pump._relay._servers[0].sockets[0].getsockname()[1]

    def knock() -> bytes:
        with connect(ADDRESSES[0].own, port) as app:
            return app.recv(1)

    with pytest.raises(ConnectionResetError):
        await asyncio.to_thread(knock)


# --- the end


async def test_the_flow_table_is_empty_after_all_is_closed(pump: Pump, cluster: Cluster) -> None:
    await cluster.serve(SERVICE4, 80, web)
    await cluster.serve(SERVICE6, 80, echo)
    cluster.fail(SERVICE4, 81, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))

    def talk() -> None:
        for _ in range(50):
            get(SERVICE4)
            connect(SERVICE6).close()
            with pytest.raises(ConnectionRefusedError):
                connect(SERVICE4, 81)

    await asyncio.to_thread(talk)
    await until(lambda: len(pump._table) == 0)
    assert pump.open_flows == 0
    assert pump._table._rewrites == {}
    assert pump._relay._ends == {}
    assert pump._relay._expected == {}


async def test_closing_resets_open_connections(pump: Pump, cluster: Cluster) -> None:
    await cluster.serve(SERVICE4, 80, echo)
    apps = await asyncio.to_thread(lambda: [connect(SERVICE4) for _ in range(100)])
    await until(lambda: pump.open_flows == 100)
    await pump.aclose()
    await asyncio.wait_for(pump.wait_closed(), 60)
    for app in apps:
        with app, pytest.raises(ConnectionResetError):
            app.recv(1)


async def test_closing_refuses_connections_being_dialled(pump: Pump, cluster: Cluster) -> None:
    attempt = asyncio.create_task(asyncio.to_thread(connect, SERVICE4, 83))
    await until(lambda: len(cluster.dialled) == 1)
    await pump.aclose()
    with pytest.raises(ConnectionRefusedError):
        await attempt


async def test_a_turn_is_bounded(pump: Pump, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in the TUN after it has its turn later."""
    monkeypatch.setattr(pump_module, "TURN_S", 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as app:
        for _ in range(5):
            app.sendto(b"", (SERVICE4, 9))
    before = pump.packets.read_packets
    pump._drain()
    assert pump.packets.read_packets == before + 1
    await until(lambda: pump.packets.read_packets == before + 5)


async def test_a_removed_tun_ends_the_pump_with_an_error(pump: Pump) -> None:
    waiting = asyncio.create_task(pump.wait_closed())
    await asyncio.to_thread(ip, "link", "delete", TUN_NAME)
    with pytest.raises(TunUnavailable) as caught:
        await asyncio.wait_for(waiting, 60)
    assert isinstance(caught.value.__cause__, OSError)
    await pump.aclose()


async def test_garbage_from_the_tun_is_counted_not_fatal(pump: Pump, cluster: Cluster) -> None:
    """A raw socket sends what no TCP would; the pump goes on."""
    await cluster.serve(SERVICE4, 80, web)
    chance = random.Random(9)

    def spray() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
            for _ in range(200):
                raw.sendto(chance.randbytes(chance.randint(0, 60)), (SERVICE4, 0))

    await asyncio.to_thread(spray)
    await until(lambda: pump.packets.read_packets >= 200)
    assert await asyncio.to_thread(get, SERVICE4) == b"hello"


async def test_ping_is_counted_as_unsupported(pump: Pump) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as app:
        app.sendto(b"\x08\0\xf7\xff\0\0\0\0", (SERVICE4, 0))
    await until(lambda: pump.flows.dropped[Drop.UNSUPPORTED] >= 1)


async def test_the_backlog_keeps_what_the_tun_does_not_take(cluster: Cluster) -> None:
    """A pair of datagram sockets stands in for the TUN: unlike a TUN it can be made to say EAGAIN at will."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        pump = await Pump.start(ours.fileno(), [], cluster.dial)
        while True:  # fill it
            try:
                os.write(ours.fileno(), b"filler")
            except BlockingIOError:
                break
        for number in range(3):
            pump._write(b"\0" * 10 + b"%d" % number)
        assert len(pump._backlog) == 3
        received: list[bytes] = []

        def collect() -> None:
            while len(received) < 3:
                data = theirs.recv(100)
                if data != b"filler":
                    received.append(data[10:])

        reader = threading.Thread(target=collect)
        reader.start()
        await asyncio.to_thread(reader.join, 5)
        assert received == [b"0", b"1", b"2"]
        assert pump.packets.written_packets == 3
        assert not pump._backlog
        await pump.aclose()


async def test_a_packet_the_kernel_rejects_is_counted_and_the_rest_go_on(pump: Pump, cluster: Cluster) -> None:
    await cluster.serve(SERVICE4, 80, web)
    pump._write(bytes(10) + b"\xff" * 40)  # no IP version
    assert pump.packets.lost_packets == 1
    assert await asyncio.to_thread(get, SERVICE4) == b"hello"


@BOTH
async def test_a_datagram_is_refused_at_once(pump: Pump, service: str) -> None:
    family = socket.AF_INET6 if ":" in service else socket.AF_INET

    def ask() -> int | None:
        with socket.socket(family, socket.SOCK_DGRAM) as app:
            app.settimeout(60)
            app.connect((service, 53))
            app.send(b"query")
            with pytest.raises(ConnectionRefusedError) as refused:
                app.recv(100)
            return refused.value.errno

    assert await quickest_s(ask, errno.ECONNREFUSED) < AT_ONCE_S
    assert pump.flows.udp_refused == 3


async def test_a_datagram_to_the_tuns_own_address_reaches_who_listens_there(pump: Pump) -> None:
    def ask() -> bytes:
        with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as app:
            server.bind((ADDRESSES[0].own, 5300))
            server.settimeout(60)
            app.sendto(b"query", server.getsockname())
            return server.recv(100)

    assert await asyncio.to_thread(ask) == b"query"
    assert pump.flows.udp_refused == 0
