"""Ports of a dev container that lead back, on a real OpenSSH server with the policy that it has there."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest
from ktpy_agent.dev import policy

from ktpy.aio.background_task import background_task
from ktpy.errors import RouteTaken
from ktpy.link.dialer import Dialer
from ktpy.link.reverse_ports import ReversePorts
from tests.component.link.conftest import running
from tests.component.link.shadow import AGENT, Client, open_connection
from tests.component.link.sshd import Sshd, echo, target
from tests.kit.ports import free_port
from tests.kit.waiting import until


@pytest.fixture
def dev_pod(tmp_path: Path) -> Iterator[Sshd]:
    with running(tmp_path, AGENT, policy(tmp_path / "flows")) as server:
        yield server


@asynccontextmanager
async def held(dev_pod: Sshd, ports: ReversePorts) -> AsyncIterator[None]:
    """A link of its own, on which the ports are."""
    connection = await open_connection(dev_pod)
    async with background_task(ports.hold(connection), "hold"):
        yield
        connection.close()
        await connection.wait_closed()


async def answers(port: int) -> bool:
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"here")
            answer = await reader.read(4)
            writer.close()
    except ConnectionError:
        return False
    return answer == b"here"


async def until_answers(port: int) -> None:
    for _ in range(1000):
        if await answers(port):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(port)


async def test_the_next_link_has_them_once_sshd_has_ended_the_former(dev_pod: Sshd) -> None:
    port = free_port()
    async with target(echo) as local:
        ports, later = ReversePorts({port: local}), await open_connection(dev_pod)
        async with held(dev_pod, ports):
            await ports.stand.wait()
            assert await answers(port)
            holding = asyncio.create_task(ports.hold(later))
            await asyncio.sleep(0)
            await Dialer(later).create_connection(Client, "127.0.0.1", local)  # sshd has answered what was asked before
        await until_answers(port)
        later.close()
        assert await holding is None


async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"here")
    writer.close()


async def test_a_program_that_speaks_first_and_ends(dev_pod: Sshd) -> None:
    port = free_port()
    async with target(greet) as local:
        ports = ReversePorts({port: local})
        async with held(dev_pod, ports):
            await ports.stand.wait()
            for _ in range(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.read() == b"here"
                writer.close()


async def test_one_that_is_taken(dev_pod: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        connection = await open_connection(dev_pod)
        with pytest.raises(RouteTaken, match=rf"Port {taken.getsockname()[1]} of the dev container"):
            await ReversePorts({taken.getsockname()[1]: 80}).hold(connection)
        connection.close()


async def test_a_port_of_the_laptop_where_nobody_listens(dev_pod: Sshd) -> None:
    port = free_port()
    ports = ReversePorts({port: free_port()})
    async with held(dev_pod, ports):
        await ports.stand.wait()
        assert not await answers(port)


async def test_nothing_but_loopback_is_permitted(dev_pod: Sshd) -> None:
    connection = await open_connection(dev_pod)
    for host in ("", "0.0.0.0", "::"):
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.ssh.forward_remote_port(host, free_port(), "localhost", 1)
    with pytest.raises(PermissionError):
        await Dialer(connection).create_connection(Client, "224.0.0.1", 80)
    with pytest.raises(asyncssh.ChannelListenError):
        await connection.ssh.forward_remote_path(str(dev_pod.directory / "theirs"), "/nowhere")
    another = str(dev_pod.directory / "another")
    async with await asyncio.start_unix_server(echo, another):
        with pytest.raises(asyncssh.ChannelOpenError, match="open failed"):
            await connection.ssh.open_unix_connection(another)
    async with target(echo) as port:
        _, client = await Dialer(connection).create_connection(Client, "127.0.0.1", port)
        client.transport.write(b"x")
        await until(lambda: client.received == b"x", "an answer")
    connection.close()
