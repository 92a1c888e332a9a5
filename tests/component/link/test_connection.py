"""A connection to the agent behind a real OpenSSH server on loopback."""

import asyncio
import signal
import time

import pytest

from ktpy.errors import LinkLost, PodFailed
from ktpy.link.connection import AgentConnection, AgentServer
from ktpy.link.dialer import Dialer
from ktpy.link.key import make_key
from ktpy.link.session import SHADOW_SESSION
from ktpy.wire.session import AgentHello
from tests.component.link.shadow import Client, open_connection
from tests.component.link.sshd import Sshd, echo, target


async def test_hello_and_host_key(sshd: Sshd, connection: AgentConnection[AgentHello]) -> None:
    assert connection.hello == AgentHello("9.9", ("10.96.0.10",), ("shop.svc.cluster.local",))
    assert connection.host_key == (sshd.directory / "host_key.pub").read_text().strip()
    assert connection.host_key.startswith("ssh-ed25519 AAAA")


async def test_the_cipher_is_the_fast_one(connection: AgentConnection[AgentHello]) -> None:
    assert connection.ssh.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
    assert connection.ssh.get_extra_info("recv_compression") == "none"


async def test_key_that_is_not_taken(sshd: Sshd) -> None:
    sshd.key = make_key()
    with pytest.raises(PodFailed, match="does not take this session's key"):
        await open_connection(sshd)


async def test_not_an_ssh_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with target(serve) as port:
        with pytest.raises(LinkLost):
            await AgentConnection.open(
                asyncio.get_running_loop(), make_key(), SHADOW_SESSION, AgentServer("127.0.0.1", port)
            )


async def test_cancelled_while_opening(sshd: Sshd) -> None:
    sshd.signal(signal.SIGSTOP)
    opening = asyncio.create_task(open_connection(sshd))
    await asyncio.sleep(0.05)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    sshd.signal(signal.SIGCONT)
    assert not (sshd.directory / "beats").exists()


async def test_close(connection: AgentConnection[AgentHello], dialer: Dialer) -> None:
    async with target(echo) as port:
        _, client = await dialer.create_connection(Client, "127.0.0.1", port)
        connection.close()
        connection.close()
        assert await connection.wait_closed() is None
        assert await client.lost is None
        with pytest.raises(ConnectionAbortedError):
            await dialer.create_connection(Client, "127.0.0.1", port)


async def test_sshd_killed(sshd: Sshd, connection: AgentConnection[AgentHello], dialer: Dialer) -> None:
    async with target(echo) as port:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        sshd.signal(signal.SIGSTOP)
        opening = asyncio.create_task(dialer.create_connection(Client, "127.0.0.1", port))
        await asyncio.sleep(0)
        sshd.signal(signal.SIGKILL)
        async with asyncio.timeout(60):
            reason = await connection.wait_closed()
        assert isinstance(reason, LinkLost)
        assert "The link to the pod was lost" in reason.message
        assert isinstance(await client.lost, OSError)
        assert transport.is_closing()
        with pytest.raises(ConnectionAbortedError):
            await opening


async def test_a_link_that_is_given_up_resets_what_went_over_it(
    connection: AgentConnection[AgentHello], dialer: Dialer
) -> None:
    """An end of stream would claim that the far side had come to its end."""
    async with target(echo) as port:
        _, client = await dialer.create_connection(Client, "127.0.0.1", port)
        connection.lose(LinkLost("The pod is gone."))
        assert isinstance(await client.lost, ConnectionAbortedError)
        assert not client.eof.done()
        lost = await connection.wait_closed()
        assert lost is not None
        assert lost.message == "The pod is gone."


async def test_silent_stall(sshd: Sshd) -> None:
    connection = await open_connection(sshd, keepalive_interval_s=1.0)
    await asyncio.sleep(3.5)  # longer than the bound: a link that answers is kept
    assert not connection.is_closed
    sshd.signal(signal.SIGSTOP)
    started_s = time.monotonic()
    async with asyncio.timeout(60):
        reason = await connection.wait_closed()
    assert isinstance(reason, LinkLost)
    assert "went silent" in reason.message
    assert time.monotonic() - started_s > 0.5
