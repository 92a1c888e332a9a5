"""Connections over several SSH connections, by the real agent behind its real sshd. The pod only seems to be far."""

import asyncio
import errno
import hashlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import KtpyError, LinkLost
from ktpy.link import lanes, striped_dialer
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.key import ClientKey, make_key
from ktpy.link.lanes import FAR_S, MOST, STRIPES, Lanes
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.striped_dialer import AHEAD
from ktpy.link.striped_flow import StripedFlow
from ktpy.link.uplink import AgentPod, Uplink
from ktpy.wire.session import AgentHello
from ktpy.wire.stripes import WIDE_AFTER_BYTES
from tests.component.agent.pod import Pod, kill
from tests.component.link.shadow import Client
from tests.component.link.sshd import Serve, echo, target
from tests.kit.ports import free_port
from tests.kit.waiting import until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
]

BULK_BYTES = 8 * WIDE_AFTER_BYTES


class Policy:
    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        await asyncio.sleep(0.02)

    async def link_lost(self, reason: LinkLost) -> None:
        await asyncio.sleep(0.02)


class Laptop:
    def __init__(self, pod: Pod, key: ClientKey) -> None:
        self.transports: list[asyncio.Transport] = []
        """Of the SSH connections, in the order of their making."""
        self._place = AgentServer("127.0.0.1", pod.port)
        self.uplink = Uplink(self._find_pod, key, SHADOW_SESSION, Policy(), may_widen=True)

    async def create_connection(
        self, protocol_factory: Callable[[], Any], _host: str, _port: int
    ) -> tuple[asyncio.Transport, Any]:
        loop = asyncio.get_running_loop()
        made = await loop.create_connection(protocol_factory, "127.0.0.1", self._place.port)
        self.transports.append(made[0])
        return made

    async def _find_pod(self) -> AgentPod:
        return AgentPod("pod", self, _nobody_can_tell, "", self._place)

    @property
    def lanes(self) -> Lanes:
        assert self.uplink._lanes is not None
        return self.uplink._lanes

    @property
    def dialers(self) -> list[striped_dialer.StripedDialer]:
        return lanes._striped(self.lanes._dialers)

    def are_ready(self) -> bool:
        return len(self.dialers) == MOST and all(len(dialer._spares) >= AHEAD for dialer in self.dialers)

    async def client(self, port: int) -> Client:
        return (await self.uplink.create_connection(Client, "127.0.0.1", port))[1]

    def received_bytes(self) -> list[int]:
        return [dialer.connection.link.received_bytes for dialer in self.dialers]

    def sent_bytes(self) -> list[int]:
        return [dialer.connection.link.sent_bytes for dialer in self.dialers]


async def _nobody_can_tell() -> None:
    return None


@pytest.fixture
async def laptop(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Laptop]:
    monkeypatch.setattr(lanes, "round_trip_s", lambda _: FAR_S)
    key = make_key()
    pod.annotate({"s1": key.public_line})
    with pod.running():
        pod.wait_until_listening()
        laptop = Laptop(pod, key)
        running = asyncio.create_task(laptop.uplink.run())
        await laptop.uplink.wait_up()
        await until(laptop.are_ready)
        yield laptop
        running.cancel()
        await asyncio.wait({running})
        laptop.uplink.close()


async def send(client: Client, data: bytes) -> None:
    for start in range(0, len(data), 100_000):
        await client.may_write.wait()
        client.transport.write(data[start : start + 100_000])


async def take_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say what has come, by its digest."""
    writer.write(hashlib.sha256(await reader.read()).digest())
    writer.close()


def giving(data: bytes) -> Serve:
    """Give so much that it is bulk, and the rest on a word."""

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data[:WIDE_AFTER_BYTES])
        await reader.readexactly(1)
        writer.write(data[WIDE_AFTER_BYTES:])
        await writer.drain()
        writer.close()

    return give


async def wide(client: Client) -> None:
    """Wait until it goes over several connections."""
    flow = client.transport
    assert isinstance(flow, StripedFlow)
    await until(lambda: len(flow._stripes) == STRIPES)


async def test_an_upload_goes_over_several_connections_and_arrives_whole(laptop: Laptop) -> None:
    data = random.Random(1).randbytes(BULK_BYTES)
    async with target(take_all) as port:
        client = await laptop.client(port)
        await send(client, data[:WIDE_AFTER_BYTES])
        await wide(client)
        await send(client, data[WIDE_AFTER_BYTES:])
        client.transport.write_eof()
        await client.eof
    assert client.received == hashlib.sha256(data).digest()
    assert sorted(laptop.sent_bytes())[-STRIPES] > WIDE_AFTER_BYTES / 2
    client.transport.close()
    assert await client.lost is None


async def test_a_download_goes_over_several_connections_and_arrives_whole(laptop: Laptop) -> None:
    data = random.Random(2).randbytes(BULK_BYTES)
    async with target(giving(data)) as port:
        client = await laptop.client(port)
        await wide(client)
        client.transport.write(b"x")
        await client.eof
        assert client.received == data
        assert sorted(laptop.received_bytes())[-STRIPES] > WIDE_AFTER_BYTES / 2
        client.transport.close()
        assert await client.lost is None


async def test_what_is_little_goes_over_one_connection_whose_channel_is_used_again(laptop: Laptop) -> None:
    async with target(echo) as port:
        for number in range(5 * MOST):
            client = await laptop.client(port)
            client.transport.write(b"%d" % number)
            client.transport.write_eof()
            await client.eof
            assert client.received == b"%d" % number
            client.transport.close()
            assert await client.lost is None
    assert laptop.sent_bytes()[1:] == [0] * (MOST - 1), "with nothing open, the first connection is the least busy"
    await until(laptop.are_ready)
    assert len(laptop.dialers[0]._spares) <= AHEAD + 1


async def test_more_at_once_than_channels_wait_take_one_of_sshds_own(laptop: Laptop) -> None:
    async with target(echo) as port:
        clients = await asyncio.gather(*(laptop.client(port) for _ in range(3 * AHEAD * MOST)))
        kinds = [isinstance(client.transport, StripedFlow) for client in clients]
        assert AHEAD * MOST <= sum(kinds) < len(kinds)
        for client in clients:
            client.transport.write(b"word")
        await until(lambda: all(client.received == b"word" for client in clients))


async def test_one_flow_at_a_time_goes_over_several(laptop: Laptop) -> None:
    data = bytes(BULK_BYTES)
    async with target(giving(data)) as port:
        clients = [await laptop.client(port) for _ in range(2 * MOST)]
        await until(lambda: all(len(client.received) >= WIDE_AFTER_BYTES for client in clients))
        for client in clients:
            client.transport.write(b"x")
        for client in clients:
            await client.eof
            assert client.received == data


async def test_nobody_listens(laptop: Laptop) -> None:
    with pytest.raises(ConnectionRefusedError):
        await laptop.client(free_port())
    await until(laptop.are_ready)


async def test_there_is_no_way(laptop: Laptop) -> None:
    with pytest.raises(OSError) as raised:  # TCP to a multicast address: the kernel says so without a packet
        await laptop.uplink.create_connection(Client, "224.0.0.1", 80)
    assert raised.value.errno == errno.ENETUNREACH


async def test_whoever_gives_up_dialling_leaves_nothing(laptop: Laptop) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        with socket.create_connection(place), pytest.raises(TimeoutError):  # the next one's SYN is not answered
            async with asyncio.timeout(0.2):
                await laptop.client(place[1])
    await until(laptop.are_ready)


async def test_the_far_side_resets_after_its_last_words(laptop: Laptop) -> None:
    are_heard = asyncio.Event()

    async def leave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        await are_heard.wait()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with target(leave) as port:
        client = await laptop.client(port)
        await until(lambda: client.received == b"last words")
        are_heard.set()
        assert isinstance(await client.lost, ConnectionResetError)


@pytest.mark.parametrize("size", [1, BULK_BYTES])
async def test_a_reset_reaches_the_far_side(laptop: Laptop, size: int) -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100_000):
                pass
            ended.set_result(None)
        except OSError as exc:
            ended.set_result(exc)
        writer.close()

    async with target(listen) as port:
        client = await laptop.client(port)
        await send(client, bytes(size))
        client.transport.abort()
        assert await client.lost is None
        assert isinstance(await ended, ConnectionResetError)


async def test_what_was_written_before_it_is_closed_arrives(laptop: Laptop) -> None:
    came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set_result(await reader.read())
        writer.close()

    data = random.Random(3).randbytes(BULK_BYTES)
    async with target(listen) as port:
        client = await laptop.client(port)
        await send(client, data)
        client.transport.close()
        assert await came == data
        assert await client.lost is None


async def test_a_client_that_does_not_read_stops_the_far_side(laptop: Laptop) -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()
        except OSError:
            writer.close()

    async with target(flood) as port:
        client = await laptop.client(port)
        await until(lambda: len(client.received) > BULK_BYTES)
        client.transport.pause_reading()
        seen = -1
        while seen != (now := sum(laptop.received_bytes())):
            seen = now
            await asyncio.sleep(0.2)
        heard = len(client.received)
        client.transport.resume_reading()
        await until(lambda: len(client.received) > heard + BULK_BYTES)
        client.transport.abort()


@pytest.mark.parametrize("stripe", range(STRIPES))
async def test_one_connection_is_lost_and_what_goes_over_it_is_reset(laptop: Laptop, stripe: int) -> None:
    far: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100_000):
                pass
            far.set_result(None)
        except OSError as exc:
            far.set_result(exc)
        writer.close()

    async with target(listen) as port, target(echo) as echo_port:
        client = await laptop.client(port)
        await send(client, bytes(WIDE_AFTER_BYTES))
        await wide(client)
        await send(client, bytes(WIDE_AFTER_BYTES))
        assert isinstance(client.transport, StripedFlow)
        lost = client.transport._stripes[stripe].channel._link
        [connection] = [dialer.connection for dialer in laptop.dialers if dialer.connection.link is lost]
        connection.ssh._transport.abort()  # type: ignore[union-attr]
        assert isinstance(await client.lost, ConnectionAbortedError)
        assert isinstance(await far, ConnectionResetError)
        await until(laptop.are_ready)
        other = await laptop.client(echo_port)
        other.transport.write(b"fine")
        await until(lambda: other.received == b"fine")


async def test_the_relay_in_the_pod_died(laptop: Laptop, pod: Pod) -> None:
    async with target(echo) as port:
        client = await laptop.client(port)
        [relay] = pod.processes("ktpy-agent shadow")
        kill(relay)
        assert isinstance(await client.lost, OSError)
        other = await laptop.client(port)
        other.transport.write(b"fine")
        await until(lambda: other.received == b"fine")


async def test_an_older_agent(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would close a channel that begins so."""
    opened = AgentConnection.open

    async def open_older(*arguments: Any) -> AgentConnection[AgentHello]:
        connection = await opened(*arguments)
        connection.hello = connection.hello._replace(stripes=False)
        return connection

    monkeypatch.setattr(AgentConnection, "open", open_older)
    for transport in list(laptop.transports):
        transport.abort()
    await until(
        lambda: len(laptop.dialers) == MOST and not any(dialer.connection.hello.stripes for dialer in laptop.dialers)
    )
    async with target(giving(bytes(BULK_BYTES))) as port:
        client = await laptop.client(port)
        assert not isinstance(client.transport, StripedFlow)
        client.transport.write(b"x")
        await client.eof
        assert len(client.received) == BULK_BYTES


async def talk(client: Client, seed: int) -> None:
    """Write and hear the same back, in pieces of all sizes."""
    chance, sent = random.Random(seed), bytearray()
    while len(sent) < 2 * WIDE_AFTER_BYTES:
        await client.may_write.wait()
        data = chance.randbytes(chance.choice((1, 100, 5000, 60_000, 300_000)))
        sent += data
        client.transport.write(data)
        if chance.random() < 0.2:
            client.transport.pause_reading()
            await asyncio.sleep(chance.random() * 0.01)
            client.transport.resume_reading()
    client.transport.write_eof()
    await client.eof
    assert client.received == sent
    client.transport.close()
    assert await client.lost is None


async def test_many_at_once(laptop: Laptop) -> None:
    async with target(echo) as port, asyncio.TaskGroup() as tasks:
        for seed in range(12):
            tasks.create_task(talk(await laptop.client(port), seed))
    await until(laptop.are_ready)
    await until(lambda: [dialer.busy for dialer in laptop.dialers] == [0] * MOST)  # channels that close are no spares
