"""Connections that outlive their link, through the real agent behind its real sshd; links are cut at random."""

import asyncio
import errno
import hashlib
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ktpy.errors import KtpyError, LinkLost
from ktpy.link import lanes
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.direct import DirectWay
from ktpy.link.keeper import Keeper
from ktpy.link.key import ClientKey, make_key
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.uplink import AgentPod, Uplink
from ktpy.wire.session import AgentHello
from tests.component.agent.pod import Pod, kill
from tests.component.link.shadow import Client
from tests.component.link.sshd import echo, target
from tests.kit.ports import free_port
from tests.kit.waiting import until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
]


class Policy:
    """Dials again at once, unless the link is held down."""

    def __init__(self) -> None:
        self.may_dial = asyncio.Event()
        self.may_dial.set()

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        await asyncio.sleep(0.02)

    async def link_lost(self, reason: LinkLost) -> None:
        await self.may_dial.wait()


class Laptop:
    def __init__(self, pod: Pod, key: ClientKey, keep_s: float) -> None:
        self.troubles: list[str] = []
        self.keeper = Keeper(keep_s, self.troubles.append)
        self.policy = Policy()
        self.links = 0
        self.as_told: Callable[[AgentHello], AgentHello] = lambda hello: hello
        self._port = pod.port
        self._transport: asyncio.Transport | None = None
        self.uplink = Uplink(self._find_pod, key, SHADOW_SESSION, self.policy, hold=self._hold)
        self.direct: DirectWay | None = None

    async def create_connection(
        self, protocol_factory: Callable[[], Any], _host: str, _port: int
    ) -> tuple[asyncio.Transport, Any]:
        self._transport, protocol = await asyncio.get_running_loop().create_connection(
            protocol_factory, "127.0.0.1", self._port
        )
        return self._transport, protocol

    async def _find_pod(self) -> AgentPod:
        place = AgentServer("127.0.0.1", self._port)
        return AgentPod("pod", self, _nobody_can_tell, "", place, direct=self.direct)

    async def _hold(self, connection: AgentConnection[AgentHello]) -> LinkLost | None:
        self.links += 1
        connection.hello = self.as_told(connection.hello)
        self.keeper.link_up(connection)
        try:
            return await connection.wait_closed()
        finally:
            self.keeper.link_down()

    def cut(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    async def cut_and_back(self) -> None:
        links = self.links
        self.cut()
        await until(lambda: self.links > links)

    async def client(self, port: int) -> Client:
        _, client = await self.keeper.create_connection(Client, "127.0.0.1", port)
        return client


async def _nobody_can_tell() -> None:
    return None


@pytest.fixture
def keep_s() -> float:
    return 600.0


@pytest.fixture
async def laptop(pod: Pod, keep_s: float) -> AsyncIterator[Laptop]:
    key = make_key()
    pod.annotate({"s1": key.public_line})
    with pod.running():
        pod.wait_until_listening()
        laptop = Laptop(pod, key, keep_s)
        running = asyncio.create_task(laptop.uplink.run())
        await laptop.uplink.wait_up()
        yield laptop
        running.cancel()
        await asyncio.wait({running})
        laptop.uplink.close()


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async with target(echo) as port:
        yield port


async def say(client: Client, data: bytes) -> None:
    """Say something, and hear it back."""
    heard = len(client.received)
    client.transport.write(data)
    await until(lambda: len(client.received) >= heard + len(data))
    assert client.received[heard:] == data


async def test_a_connection_goes_on_over_the_next_link(laptop: Laptop, echo_port: int) -> None:
    client = await laptop.client(echo_port)
    for word in (b"one", b"two", b"three"):
        await say(client, word)
        await laptop.cut_and_back()
    await say(client, b"four")
    client.transport.close()
    assert await client.lost is None
    assert (laptop.keeper.counters.kept, laptop.keeper.counters.lost) == (3, 0)


async def test_channels_are_used_again(laptop: Laptop, echo_port: int) -> None:
    channels = set()
    for number in range(20):
        client = await laptop.client(echo_port)
        await say(client, b"%d" % number)
        client.transport.write_eof() if number % 2 else None
        client.transport.close()
        assert await client.lost is None
        channels.update(laptop.keeper._spares._channels)
    assert len(channels) == 1
    await laptop.cut_and_back()
    assert len(laptop.keeper._spares) == 0
    await say(await laptop.client(echo_port), b"fine")


async def test_what_is_written_without_a_link_arrives_after_it(laptop: Laptop, echo_port: int) -> None:
    client = await laptop.client(echo_port)
    await say(client, b"one")
    laptop.policy.may_dial.clear()
    laptop.cut()
    await until(lambda: not client.may_write.is_set())
    client.transport.write(b"two")
    client.transport.write_eof()
    laptop.policy.may_dial.set()
    await client.eof
    assert client.received == b"onetwo"
    assert client.may_write.is_set()


class Way(DirectWay):
    """An optional way past the API server, at the second place that is tried; it can be cut."""

    def __init__(self, port: int) -> None:
        self.said: list[str] = []
        self.is_open = True
        self._port = port
        self._made: list[asyncio.Transport] = []
        super().__init__(self._places, self.said.append, self.said.append, is_optional=True)

    async def _places(self) -> AsyncIterator[tuple[str, int]]:
        yield "127.0.0.1", free_port()
        if self.is_open:
            yield "127.0.0.1", self._port

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        made = await super().create_connection(protocol_factory, host, port)
        self._made.append(made[0])
        return made

    def cut(self) -> None:
        self.is_open = False
        for transport in self._made:
            transport.abort()


@pytest.fixture
async def roaming(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Laptop]:
    """A laptop that finds a way past the API server; without `--keep`."""
    monkeypatch.setattr(lanes, "OPTIONAL_AGAIN_AFTER_S", 0.1)
    monkeypatch.setattr(lanes, "FIRST_AGAIN_AFTER_S", 0.05)
    key = make_key()
    pod.annotate({"s1": key.public_line})
    with pod.running():
        pod.wait_until_listening()
        laptop = Laptop(pod, key, 0.0)
        laptop.direct = way = Way(pod.port)
        laptop.uplink = Uplink(laptop._find_pod, key, SHADOW_SESSION, laptop.policy, may_widen=True)
        running = asyncio.create_task(laptop.uplink.run())
        await laptop.uplink.wait_up()
        await until(lambda: way.address is not None)
        yield laptop
        running.cancel()
        await asyncio.wait({running})
        laptop.uplink.close()


async def test_what_goes_past_the_api_server_goes_on_through_it(roaming: Laptop, echo_port: int) -> None:
    way = roaming.direct
    assert isinstance(way, Way)

    async def client() -> Client:
        return (await roaming.uplink.create_connection(Client, "127.0.0.1", echo_port))[1]

    talks = [Talk(await client(), seed) for seed in range(6)]
    idle = [await client()]
    async with asyncio.TaskGroup() as tasks:
        for talk in talks:
            tasks.create_task(talk.run())
        for _ in range(3):
            await asyncio.sleep(0.1)
            way.cut()
            await until(lambda: way.address is None)
            idle.append(await client())
            way.is_open = True
            await until(lambda: way.address is not None)
            idle.append(await client())
        for talk in talks:
            talk.is_told_to_stop = True
    for one in idle:
        await say(one, b"still here")
        one.transport.close()
        assert await one.lost is None
    assert [said.partition(" ")[0] for said in way.said] == ["new", "New"] * 3 + ["new"]
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "go on through the API server"])


async def test_nobody_listens(laptop: Laptop) -> None:
    with pytest.raises(ConnectionRefusedError):
        await laptop.client(free_port())


async def test_half_closed(laptop: Laptop) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        await laptop.cut_and_back()
        writer.write(b"%d bytes" % len(data))
        writer.close()

    async with target(reply) as port:
        client = await laptop.client(port)
        client.transport.write(bytes(100000))
        client.transport.write_eof()
        await client.eof
        assert client.received == b"100000 bytes"
        client.transport.close()
        assert await client.lost is None


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
        error = await client.lost
        assert isinstance(error, ConnectionResetError)
        assert error.errno == errno.ECONNRESET


async def test_a_reset_reaches_the_far_side(laptop: Laptop) -> None:
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            ended.set_result(None)
        except OSError as exc:
            ended.set_result(exc)
        writer.close()

    async with target(listen) as port:
        client = await laptop.client(port)
        client.transport.write(b"x")
        client.transport.abort()
        assert await client.lost is None
        assert isinstance(await ended, ConnectionResetError)


async def test_whoever_gives_up_waiting_leaves_nothing(laptop: Laptop, echo_port: int) -> None:
    laptop.policy.may_dial.clear()
    laptop.cut()
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await laptop.client(echo_port)
    laptop.policy.may_dial.set()
    await say(await laptop.client(echo_port), b"fine")


@pytest.mark.parametrize("keep_s", [0.2])
async def test_without_a_link_for_too_long_they_are_reset(laptop: Laptop, echo_port: int) -> None:
    client = await laptop.client(echo_port)
    await say(client, b"one")
    laptop.policy.may_dial.clear()
    laptop.cut()
    assert isinstance(await client.lost, ConnectionAbortedError)
    laptop.policy.may_dial.set()
    await say(await laptop.client(echo_port), b"two")
    assert (laptop.keeper.counters.kept, laptop.keeper.counters.lost) == (0, 1)


async def test_the_relay_in_the_pod_died(laptop: Laptop, pod: Pod, echo_port: int) -> None:
    client = await laptop.client(echo_port)
    await say(client, b"one")
    [relay] = pod.processes("ktpy-agent shadow")
    kill(relay)
    assert isinstance(await client.lost, OSError)
    await until(lambda: laptop.links == 2)
    await say(await laptop.client(echo_port), b"two")
    assert laptop.keeper.counters.kept == 0


async def test_an_older_agent(laptop: Laptop, echo_port: int) -> None:
    """Its connections end with the link, as ever."""
    laptop.as_told = lambda hello: hello._replace(flows="", agent="0.0.9")
    await laptop.cut_and_back()
    client = await laptop.client(echo_port)
    await say(client, b"one")
    await laptop.cut_and_back()
    assert isinstance(await client.lost, ConnectionAbortedError)
    await say(await laptop.client(echo_port), b"two")
    assert laptop.troubles == ["the agent (0.0.9) has none"]


async def test_an_agent_whose_sshd_leads_nowhere(laptop: Laptop, echo_port: int) -> None:
    laptop.as_told = lambda hello: hello._replace(flows="/nowhere")
    await laptop.cut_and_back()
    await say(await laptop.client(echo_port), b"as ever")
    assert len(laptop.troubles) == 1


class Talk:
    """A client that writes and hears the same back, as fast as it can."""

    def __init__(self, client: Client, seed: int) -> None:
        self.client, self.chance = client, random.Random(seed)
        self.sent, self.count = hashlib.sha256(), 0
        self.is_told_to_stop = False

    async def run(self) -> None:
        while not self.is_told_to_stop:
            await self.client.may_write.wait()
            data = self.chance.randbytes(self.chance.choice((1, 100, 5000, 60000)))
            self.sent.update(data)
            self.count += len(data)
            self.client.transport.write(data)
            await asyncio.sleep(self.chance.random() * 0.01)
        self.client.transport.write_eof()
        await self.client.eof
        assert len(self.client.received) == self.count
        assert hashlib.sha256(self.client.received).digest() == self.sent.digest()
        self.client.transport.close()
        assert await self.client.lost is None


async def test_many_connections_and_many_cuts(laptop: Laptop, echo_port: int) -> None:
    idle = [await laptop.client(echo_port) for _ in range(60)]
    talks = [Talk(await laptop.client(echo_port), seed) for seed in range(12)]
    chance = random.Random(1)
    async with asyncio.TaskGroup() as tasks:
        for talk in talks:
            tasks.create_task(talk.run())
        for cuts in range(5):
            await asyncio.sleep(chance.random() * 0.3)
            await laptop.cut_and_back()
            await until(lambda: laptop.keeper.counters.kept == (cuts + 1) * 72)  # noqa: B023 - it is awaited here
        await asyncio.sleep(0.2)
        for talk in talks:
            talk.is_told_to_stop = True
    for client in idle:
        await say(client, b"still here")
    assert laptop.keeper.counters.lost == 0


async def test_bulk_goes_on_after_a_cut_or_is_reset(laptop: Laptop) -> None:
    """Nothing is missing in the middle, whether or not more was under way than is held."""
    blob = random.Random(5).randbytes(24 << 20)

    async def send(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(blob)
            await writer.drain()
            writer.close()

    async with target(send) as port:
        client = await laptop.client(port)
        await until(lambda: len(client.received) > 1 << 20)
        await laptop.cut_and_back()
        await asyncio.wait((client.eof, client.lost), return_when=asyncio.FIRST_COMPLETED)
        assert blob.startswith(client.received)
        assert client.lost.done() or client.received == blob
