"""The tunnel against a real OpenSSH server on loopback."""

import asyncio
import errno
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from ktpy.errors import ApiUnreachable, Forbidden, LinkLost, PodFailed, PodNotReady
from ktpy.kube.portforward.port_forward import PortForwardNotYet
from ktpy.link.channel import open_failure
from ktpy.link.connection import WINDOW_MAX_BYTES, AgentServer
from ktpy.link.key import make_key
from ktpy.link.tunnel import SshTunnel, dial_until
from ktpy.wire.pod import SESSION_BEAT_S
from ktpy.wire.session import AgentHello
from tests.component.link.sshd import Sshd, echo, target, until

HELLO = {
    "version": 1,
    "agent": "9.9",
    "resolv_conf": {"nameservers": ["10.96.0.10"], "search": ["shop.svc.cluster.local"]},
}
AGENT = f"""
import os, sys
print({json.dumps(json.dumps(HELLO))}, flush=True)
with open("beats", "ab", buffering=0) as beats:
    while beat := os.read(0, 100):
        beats.write(beat)
        if os.path.exists("quit"):
            sys.exit("told to quit")
    beats.write(b"EOF")
"""


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path)
    server.install(AGENT)
    server.start()
    try:
        yield server
    finally:
        server.stop()


async def open_tunnel(sshd: Sshd, *, beat_interval_s: float = SESSION_BEAT_S, **patience: Any) -> SshTunnel:
    server = replace(sshd.place, **patience)
    return await SshTunnel.open(asyncio.get_running_loop(), sshd.key, server, beat_interval_s=beat_interval_s)


@pytest.fixture
async def tunnel(sshd: Sshd) -> AsyncIterator[SshTunnel]:
    tunnel = await open_tunnel(sshd)
    yield tunnel
    tunnel.close()


class Client(asyncio.Protocol):
    """What would be a relay: remembers everything."""

    def __init__(self, *, half_open: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.half_open = half_open
        self.received = bytearray()
        self.arrived = asyncio.Condition()
        self.eof: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.pauses = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert not self.lost.done()
        self.received += data

    def eof_received(self) -> bool:
        self.eof.set_result(None)
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        assert self.may_write.is_set(), "paused twice"
        self.may_write.clear()
        self.pauses += 1

    def resume_writing(self) -> None:
        assert not self.may_write.is_set(), "resumed twice"
        self.may_write.set()


async def reply_after_eof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()
    writer.write(b"%d bytes" % len(data))
    writer.close()


# --- opening


async def test_hello_and_host_key(sshd: Sshd, tunnel: SshTunnel) -> None:
    assert tunnel.hello == AgentHello("9.9", ("10.96.0.10",), ("shop.svc.cluster.local",))
    assert tunnel.host_key == (sshd.directory / "host_key.pub").read_text().strip()
    assert tunnel.host_key.startswith("ssh-ed25519 AAAA")


async def test_the_cipher_is_the_fast_one(tunnel: SshTunnel) -> None:
    assert tunnel._connection is not None
    assert tunnel._connection.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
    assert tunnel._connection.get_extra_info("recv_compression") == "none"


async def test_beats(sshd: Sshd) -> None:
    tunnel = await open_tunnel(sshd, beat_interval_s=0.01)
    beats = sshd.directory / "beats"
    await until(lambda: beats.exists() and beats.read_bytes().startswith(b"\n\n\n"), "three beats")
    tunnel.close()
    assert await tunnel.wait_closed() is None
    await until(lambda: beats.read_bytes().endswith(b"EOF"), "the agent hears that we left")


async def test_key_that_is_not_taken(sshd: Sshd) -> None:
    sshd.key = make_key()
    with pytest.raises(PodFailed, match="does not take this session's key"):
        await open_tunnel(sshd)


IMPOSTORS = {
    "no JSON": ("print('Welcome to Debian')", PodFailed, "not ktpy's agent"),
    "another version": ("print('{\"version\": 3}')", PodFailed, "it speaks version 3"),
    "a field missing": ("print('{\"version\": 1}')", PodFailed, "lacks 'resolv_conf'"),
    "no object": ("print('[1]')", PodFailed, "not ktpy's agent"),
    "not UTF-8": ("import os; os.write(1, b'\\xff\\n')", PodFailed, "not ktpy's agent"),
    "no line": ("print('x' * 200_000, end='')", PodFailed, "not ktpy's agent"),
    "complains and goes": ("raise SystemExit('no room')", PodFailed, "ended the session: no room"),
    "silent": ("import sys; sys.stdin.read()", LinkLost, r"did not say hello within 0\.5 s"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
async def test_not_the_agent(sshd: Sshd, name: str) -> None:
    agent, error, message = IMPOSTORS[name]
    sshd.install(agent)
    with pytest.raises(error, match=message):
        await open_tunnel(sshd, timeout_s=0.5 if name == "silent" else 10)


async def test_not_an_ssh_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with target(serve) as port:
        with pytest.raises(LinkLost):
            await SshTunnel.open(asyncio.get_running_loop(), make_key(), AgentServer("127.0.0.1", port))


async def test_cancelled_while_opening(sshd: Sshd) -> None:
    sshd.signal(signal.SIGSTOP)
    opening = asyncio.create_task(open_tunnel(sshd))
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    sshd.signal(signal.SIGCONT)
    assert not (sshd.directory / "beats").exists()


# --- channels


async def test_echo_and_counters(tunnel: SshTunnel) -> None:
    async with target(echo) as port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        assert client.transport is transport
        assert transport.get_extra_info("peername") == ("127.0.0.1", port)
        assert transport.get_extra_info("socket") is None
        transport.writelines([b"hel", bytearray(b"l"), memoryview(b"o")])
        await until(lambda: client.received == b"hello", "the echo")
        assert (tunnel.sent_bytes, tunnel.received_bytes) == (5, 5)
        transport.close()
        assert transport.is_closing()
        assert await client.lost is None


async def test_half_close(tunnel: SshTunnel) -> None:
    async with target(reply_after_eof) as port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        assert transport.can_write_eof()
        transport.write(b"x" * 300_000)
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"more")
        assert await client.lost is None
        assert client.received == b"300000 bytes"


@pytest.mark.parametrize("half_open", [True, False])
async def test_end_of_stream_from_the_far_side(tunnel: SshTunnel, half_open: bool) -> None:
    rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        rest.set_result(await reader.read())
        writer.close()

    async with target(serve) as port:
        transport, client = await tunnel.create_connection(lambda: Client(half_open=half_open), "127.0.0.1", port)
        await client.eof
        assert transport.is_closing() is not half_open
        transport.write(b"after the end")
        transport.close()
        assert await rest == (b"after the end" if half_open else b"")
        assert await client.lost is None


async def test_close_delivers_what_was_written(tunnel: SshTunnel) -> None:
    async with target(reply_after_eof) as port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        transport.write(b"x" * 10_000_000)  # more than a window
        transport.close()
        transport.write(b"ignored")
        assert await client.lost is None
        assert client.received == b""


async def test_abort(tunnel: SshTunnel) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    async with target(serve) as port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        transport.abort()
        assert not client.lost.done(), "never from inside a call"
        assert await client.lost is None
        transport.abort()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_pause_in_connection_made(tunnel: SshTunnel) -> None:
    """As the relay does: nothing is delivered before somebody is there to take it."""

    class Paused(Client):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"early")
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await tunnel.create_connection(Paused, "127.0.0.1", port)
        assert not transport.is_reading()
        await round_trip(tunnel, other_port)
        assert client.received == b""
        assert not client.eof.done()
        transport.resume_reading()
        await client.eof
        assert client.received == b"early"


async def round_trip(tunnel: SshTunnel, port: int) -> None:
    """Another channel works, and whatever the far side sent before has arrived."""
    transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
    transport.write(b"ping")
    await until(lambda: client.received == b"ping", "an answer")
    transport.close()
    await client.lost


async def test_200_channels_at_once(tunnel: SshTunnel) -> None:
    async def one(number: int, port: int) -> None:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        payload = number.to_bytes(2, "big") * 10_000
        transport.write(payload)
        transport.write_eof()
        assert await client.lost is None
        assert client.received == payload

    async with target(echo) as port, asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number, port))


# --- failures of one channel


async def test_refused(tunnel: SshTunnel) -> None:
    with socket.socket() as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await tunnel.create_connection(Client, "127.0.0.1", bound.getsockname()[1])


async def test_unreachable(tunnel: SshTunnel) -> None:
    with pytest.raises(OSError) as raised:  # TCP to a multicast address: the kernel says so without a packet
        await tunnel.create_connection(Client, "224.0.0.1", 80)
    assert raised.value.errno == errno.ENETUNREACH


async def test_prohibited(sshd: Sshd) -> None:
    sshd.install(AGENT, "restrict")
    tunnel = await open_tunnel(sshd)
    with pytest.raises(PermissionError):
        await tunnel.create_connection(Client, "127.0.0.1", sshd.port)
    tunnel.close()


async def test_names_are_not_accepted(tunnel: SshTunnel) -> None:
    with pytest.raises(ValueError, match="localhost"):
        await tunnel.create_connection(Client, "localhost", 80)


@pytest.mark.parametrize(
    ("code", "text", "kind", "number"),
    [
        (2, "Connection refused", ConnectionRefusedError, errno.ECONNREFUSED),
        (2, "Connection timed out", TimeoutError, errno.ETIMEDOUT),
        (2, "Operation timed out", TimeoutError, errno.ETIMEDOUT),
        (2, "No route to host", OSError, errno.EHOSTUNREACH),
        (2, "Host is unreachable", OSError, errno.EHOSTUNREACH),
        (2, "Network is unreachable", OSError, errno.ENETUNREACH),
        (2, "Network unreachable", OSError, errno.ENETUNREACH),
        (2, "open failed", OSError, errno.ENETUNREACH),
        (2, "Protocol wrong type for socket", OSError, errno.EIO),
        (1, "open failed", PermissionError, errno.EACCES),
    ],
)
def test_what_openssh_says(code: int, text: str, kind: type[OSError], number: int) -> None:
    error = open_failure(asyncssh.ChannelOpenError(code, text))
    assert type(error) is kind
    assert error.errno == number


async def test_cancelled_opening_leaves_no_channel(sshd: Sshd, tunnel: SshTunnel) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    def never() -> Client:
        raise AssertionError("nobody waits for this protocol")

    async with target(serve) as port:
        sshd.signal(signal.SIGSTOP)
        opening = asyncio.create_task(tunnel.create_connection(never, "127.0.0.1", port))
        await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        sshd.signal(signal.SIGCONT)
        async with asyncio.timeout(5):
            await ended.wait()


# --- flow control


async def test_reader_that_pauses_holds_no_more_than_its_window(tunnel: SshTunnel) -> None:
    size = 48 << 20

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(size))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        transport.pause_reading()
        for _ in range(5):
            await round_trip(tunnel, other_port)
        assert tunnel._connection is not None
        held_bytes = sum(
            len(data) for channel in tunnel._connection._channels.values() for data, _ in channel._recv_buf
        )
        assert held_bytes <= WINDOW_MAX_BYTES
        transport.resume_reading()
        async with asyncio.timeout(30):
            await client.eof
        assert len(client.received) == size
        transport.close()
        assert await client.lost is None


async def test_writer_waits_for_a_far_side_that_does_not_read(tunnel: SshTunnel) -> None:
    read_on = asyncio.Event()
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        await read_on.wait()
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.close()

    async with target(serve) as port, target(echo) as other_port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        sent = 0
        while True:
            if not client.may_write.is_set():
                await round_trip(tunnel, other_port)  # everybody else goes on; the far side's kernel may take more
                if not client.may_write.is_set():
                    break
            transport.write(bytes(65536))
            sent += 65536
            assert sent < 64 << 20, "never paused"
        assert transport.get_write_buffer_size() <= 256 << 10
        read_on.set()
        async with asyncio.timeout(10):
            await client.may_write.wait()
        transport.write_eof()
        assert await client.lost is None
        assert total == sent


async def test_congested_link_pauses_every_writer(sshd: Sshd, tunnel: SshTunnel) -> None:
    """Each channel has a window of 2 MiB at sshd; a link that stands still must not take that from each of them."""
    channels = 20
    total = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal total
        while data := await reader.read(1 << 20):
            total += len(data)
        writer.close()

    async with target(serve) as port:
        pairs = [await tunnel.create_connection(Client, "127.0.0.1", port) for _ in range(channels)]
        sshd.signal(signal.SIGSTOP)
        sent = 0
        for _ in range(40):  # 2.5 MiB each, if nobody stopped them
            for transport, client in pairs:
                if client.may_write.is_set():
                    transport.write(bytes(65536))
                    sent += 65536
            await asyncio.sleep(0)
        assert not any(client.may_write.is_set() for _, client in pairs)
        assert sent < 12 << 20  # what the kernel's buffers take, and a little from each
        sshd.signal(signal.SIGCONT)
        for transport, client in pairs:
            async with asyncio.timeout(10):
                await client.may_write.wait()
            transport.write_eof()
        for _, client in pairs:
            assert await client.lost is None
        assert total == sent


# --- the end of the link


async def test_close(tunnel: SshTunnel) -> None:
    async with target(echo) as port:
        _, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        tunnel.close()
        tunnel.close()
        assert await tunnel.wait_closed() is None
        assert await client.lost is None
        with pytest.raises(ConnectionAbortedError):
            await tunnel.create_connection(Client, "127.0.0.1", port)


async def test_sshd_killed(sshd: Sshd, tunnel: SshTunnel) -> None:
    async with target(echo) as port:
        transport, client = await tunnel.create_connection(Client, "127.0.0.1", port)
        sshd.signal(signal.SIGSTOP)
        opening = asyncio.create_task(tunnel.create_connection(Client, "127.0.0.1", port))
        await asyncio.sleep(0)
        sshd.signal(signal.SIGKILL)
        async with asyncio.timeout(5):
            reason = await tunnel.wait_closed()
        assert isinstance(reason, LinkLost)
        assert "The link to the pod was lost" in reason.message
        assert isinstance(await client.lost, OSError)
        assert transport.is_closing()
        with pytest.raises(ConnectionAbortedError):
            await opening


async def test_silent_stall(sshd: Sshd) -> None:
    tunnel = await open_tunnel(sshd, keepalive_interval_s=0.3)
    await asyncio.sleep(1.5)  # longer than the bound: a link that answers is kept
    assert not tunnel._closed.done()
    sshd.signal(signal.SIGSTOP)
    started_s = time.monotonic()
    async with asyncio.timeout(5):
        reason = await tunnel.wait_closed()
    assert isinstance(reason, LinkLost)
    assert "went silent" in reason.message
    assert time.monotonic() - started_s > 0.5


async def test_agent_ends_the_session(sshd: Sshd) -> None:
    tunnel = await open_tunnel(sshd, beat_interval_s=0.01)
    (sshd.directory / "quit").touch()
    async with asyncio.timeout(5):
        reason = await tunnel.wait_closed()
    assert str(reason) == "The agent in the pod ended the session: told to quit."


# --- dialling a pod that starts


class Starting:
    """A connector that fails with each of `failures`, then connects."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return await asyncio.get_running_loop().create_connection(protocol_factory, host, port)


async def test_dial_until_it_answers(sshd: Sshd) -> None:
    connector = Starting(PortForwardNotYet("no node"), ApiUnreachable("blip"), LinkLost("died"), ConnectionError("x"))
    tunnel = await dial_until(
        connector,
        sshd.key,
        sshd.place,
        timeout_s=10,
        interval_s=0.001,
    )
    assert connector.calls == 5
    tunnel.close()


async def test_dial_gives_up_at_once_on_what_will_not_go_away() -> None:
    connector = Starting(PortForwardNotYet("no node"), Forbidden("no"))
    with pytest.raises(Forbidden):
        await dial_until(connector, make_key(), AgentServer(), timeout_s=10, interval_s=0.001)
    assert connector.calls == 2


@pytest.mark.parametrize("last", [PortForwardNotYet("no node yet"), LinkLost("no node yet")])
async def test_dial_ends_at_the_deadline_with_the_last_reason(last: Exception) -> None:
    connector = Starting(*[last] * 1000)
    with pytest.raises(PodNotReady, match=r"within 0\.05 s\. no node yet"):
        await dial_until(connector, make_key(), AgentServer(), timeout_s=0.05, interval_s=0.001)


def test_keys_are_fresh_and_hidden() -> None:
    one, other = make_key(), make_key()
    assert one.public_line != other.public_line
    assert one.public_line.startswith("ssh-ed25519 AAAA")
    assert "\n" not in one.public_line
    assert "private" not in repr(one)
