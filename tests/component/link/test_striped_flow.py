"""Bulk by ways of its own, by the real agent behind its real sshd. The pod only seems to be far or near: connections to
its loopback stand for port-forwards."""

import asyncio
import errno
import hashlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import KtpyError, LinkLost
from ktpy.link import lanes, striped_flow
from ktpy.link.channel import Channel
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.key import ClientKey, make_key
from ktpy.link.lanes import FAR_S, MOST, STRIPES, Lanes
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.striped_dialer import AHEAD, StripedDialer
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
    def __init__(self, pod: Pod, key: ClientKey, *, is_far: bool) -> None:
        self.is_far = is_far
        self.transports: list[asyncio.Transport] = []
        """Of the SSH connections, in the order of their making."""
        self.forwards: list[asyncio.Transport] = []
        """Past SSH."""
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
        return AgentPod("pod", self, _nobody_can_tell, "", self._place, beside=partial(Forward, self.forwards))

    @property
    def lanes(self) -> Lanes:
        assert self.uplink._lanes is not None
        return self.uplink._lanes

    @property
    def dialers(self) -> list[StripedDialer]:
        return [dialer for dialer in self.lanes._dialers if isinstance(dialer, StripedDialer)]

    @property
    def ways(self) -> int:
        """How many further ones bulk goes over."""
        return STRIPES if self.is_far else 1

    def are_ready(self) -> bool:
        if not self.is_far:
            return len(self.dialers) == 1
        return len(self.dialers) == MOST and all(len(dialer._spares) >= AHEAD for dialer in self.dialers)

    async def client(self, port: int) -> Client:
        """One that may carry bulk; it has gone to and from there before."""
        if not self.is_far:
            self.dialers[0]._note_bulk("127.0.0.1", port)
        return (await self.uplink.create_connection(Client, "127.0.0.1", port))[1]

    def received_bytes(self) -> int:
        return self.uplink.carried().received_bytes

    def are_closed(self) -> bool:
        """Whether every further way is."""
        return all(forward.is_closing() for forward in self.forwards) and self.are_idle()

    def are_idle(self) -> bool:
        return not any(dialer.busy for dialer in self.dialers)

    def sent_bytes(self) -> list[int]:
        return [dialer.connection.link.sent_bytes for dialer in self.dialers]


class Forward:
    def __init__(self, forwards: list[asyncio.Transport], port: int) -> None:
        self._forwards, self._port = forwards, port

    async def create_connection(
        self, protocol_factory: Callable[[], Any], _host: str, _port: int
    ) -> tuple[asyncio.Transport, Any]:
        made = await asyncio.get_running_loop().create_connection(protocol_factory, "127.0.0.1", self._port)
        self._forwards.append(made[0])
        return made


async def _nobody_can_tell() -> None:
    return None


@pytest.fixture(params=["far", "near"])
def is_far(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "far")


only_far = pytest.mark.parametrize("is_far", [True], ids=["far"])
only_near = pytest.mark.parametrize("is_far", [False], ids=["near"])


@pytest.fixture
async def laptop(pod: Pod, monkeypatch: pytest.MonkeyPatch, is_far: bool) -> AsyncIterator[Laptop]:
    monkeypatch.setattr(lanes, "round_trip_s", lambda _: FAR_S if is_far else FAR_S / 2)
    key = make_key()
    pod.annotate({"s1": key.public_line})
    with pod.running():
        pod.wait_until_listening()
        laptop = Laptop(pod, key, is_far=is_far)
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


async def wide(client: Client, laptop: Laptop) -> None:
    """Wait until it goes over further ways."""
    flow = client.transport
    assert isinstance(flow, StripedFlow)
    await until(lambda: len(flow._further) == laptop.ways)


async def test_an_upload_goes_over_further_ways_and_arrives_whole(laptop: Laptop) -> None:
    data = random.Random(1).randbytes(BULK_BYTES)
    async with target(take_all) as port:
        client = await laptop.client(port)
        await send(client, data[:WIDE_AFTER_BYTES])
        await wide(client, laptop)
        await send(client, data[WIDE_AFTER_BYTES:])
        client.transport.write_eof()
        await client.eof
    assert client.received == hashlib.sha256(data).digest()
    assert len(laptop.forwards) == (0 if laptop.is_far else 1)
    client.transport.close()
    assert await client.lost is None
    await until(laptop.are_closed)


async def test_a_download_goes_over_further_ways_and_arrives_whole(laptop: Laptop) -> None:
    data = random.Random(2).randbytes(BULK_BYTES)
    async with target(giving(data)) as port:
        client = await laptop.client(port)
        await wide(client, laptop)
        client.transport.write(b"x")
        await client.eof
        assert client.received == data
        assert len(laptop.forwards) == (0 if laptop.is_far else 1)
        client.transport.close()
        assert await client.lost is None
        await until(laptop.are_closed)


@only_far
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


@only_far
async def test_more_at_once_than_channels_wait_take_one_of_sshds_own(laptop: Laptop) -> None:
    async with target(echo) as port:
        clients = await asyncio.gather(*(laptop.client(port) for _ in range(3 * AHEAD * MOST)))
        kinds = [isinstance(client.transport, StripedFlow) for client in clients]
        assert AHEAD * MOST <= sum(kinds) < len(kinds)
        for client in clients:
            client.transport.write(b"word")
        await until(lambda: all(client.received == b"word" for client in clients))


async def test_several_carry_bulk(laptop: Laptop) -> None:
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
        while seen != (now := laptop.received_bytes()):
            seen = now
            await asyncio.sleep(0.2)
        heard = len(client.received)
        client.transport.resume_reading()
        await until(lambda: len(client.received) > heard + BULK_BYTES)
        client.transport.abort()


@pytest.mark.parametrize("what", ["the first", "a further one"])
async def test_one_way_is_lost_and_what_goes_over_it_is_reset(laptop: Laptop, what: str) -> None:
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
        await wide(client, laptop)
        await send(client, bytes(WIDE_AFTER_BYTES))
        (
            laptop.forwards[0] if what != "the first" and not laptop.is_far else laptop.transports[what != "the first"]
        ).abort()
        assert isinstance(await client.lost, ConnectionError)
        assert isinstance(await far, ConnectionResetError)
        await until(laptop.are_ready)
        other = await laptop.client(echo_port)
        other.transport.write(b"fine")
        await until(lambda: other.received == b"fine")


async def test_what_was_idle_goes_over_the_first_way_and_further_ones_again(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(striped_flow, "RETIRE_AFTER_S", 0.2)
    data = random.Random(4).randbytes(2 * WIDE_AFTER_BYTES)
    joined: list[object] = []
    join = StripedFlow.join

    def note(flow: StripedFlow, channel: Any) -> None:
        joined.append(channel)
        join(flow, channel)

    monkeypatch.setattr(StripedFlow, "join", note)
    async with target(echo) as port:
        client = await laptop.client(port)
        flow = client.transport
        assert isinstance(flow, StripedFlow)
        for turn in (1, 2):
            await send(client, data)
            await until(lambda: len(joined) == turn * laptop.ways)  # noqa: B023 - within this turn
            await until(lambda: len(flow._stripes) == 1)
            client.transport.write(b"later")
            await until(lambda: len(client.received) == turn * (len(data) + 5))  # noqa: B023 - within this turn
        assert client.received == (data + b"later") * 2
        client.transport.write_eof()
        await client.eof


@only_near
async def test_where_no_forward_can_be_opened_bulk_stays_on_ssh(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise LinkLost("pods/portforward is forbidden")

    monkeypatch.setattr(Forward, "create_connection", refuse)
    data = random.Random(5).randbytes(BULK_BYTES)
    async with target(take_all) as port:
        client = await laptop.client(port)
        await send(client, data)
        client.transport.write_eof()
        await client.eof
        assert client.received == hashlib.sha256(data).digest()


@only_near
async def test_near_sshd_connects_until_a_place_had_bulk(laptop: Laptop) -> None:
    data = random.Random(6).randbytes(BULK_BYTES)
    async with target(giving(data)) as port:
        for kind in (Channel, StripedFlow, StripedFlow):
            _, client = await laptop.uplink.create_connection(Client, "127.0.0.1", port)
            assert isinstance(client.transport, kind)
            await until(lambda: len(client.received) >= WIDE_AFTER_BYTES)  # noqa: B023 - within this turn
            client.transport.write(b"x")
            await client.eof
            assert client.received == data
            client.transport.close()
    assert len(laptop.forwards) == 2
    async with target(echo) as other:
        assert isinstance((await laptop.uplink.create_connection(Client, "127.0.0.1", other))[0], Channel)


async def test_the_relay_in_the_pod_died(laptop: Laptop, pod: Pod) -> None:
    async with target(echo) as port:
        client = await laptop.client(port)
        [relay] = pod.processes("ktpy-agent shadow")
        kill(relay)
        assert isinstance(await client.lost, OSError)
        other = await laptop.client(port)
        other.transport.write(b"fine")
        await until(lambda: other.received == b"fine")


@only_far
async def test_an_older_agent(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no port for bulk."""
    opened = AgentConnection.open

    async def open_older(*arguments: Any) -> AgentConnection[AgentHello]:
        connection = await opened(*arguments)
        connection.hello = connection.hello._replace(bulk_port=0)
        return connection

    monkeypatch.setattr(AgentConnection, "open", open_older)
    for transport in list(laptop.transports):
        transport.abort()
    await until(
        lambda: len(laptop.dialers) == MOST and not any(dialer.connection.hello.bulk_port for dialer in laptop.dialers)
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
    await until(laptop.are_closed)
