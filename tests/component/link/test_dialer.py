"""Dialling from inside the pod: failures of one channel, on a real OpenSSH server."""

import asyncio
import errno
import signal
import socket
from contextlib import suppress

import pytest

from ktpy.link.dialer import Dialer
from tests.component.link.shadow import AGENT, Client, open_connection
from tests.component.link.sshd import Sshd, target


async def test_refused(dialer: Dialer) -> None:
    with socket.socket() as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            await dialer.create_connection(Client, "127.0.0.1", bound.getsockname()[1])


async def test_unreachable(dialer: Dialer) -> None:
    with pytest.raises(OSError) as raised:  # TCP to a multicast address: the kernel says so without a packet
        await dialer.create_connection(Client, "224.0.0.1", 80)
    assert raised.value.errno == errno.ENETUNREACH


async def test_prohibited(sshd: Sshd) -> None:
    sshd.install(AGENT, "restrict")
    connection = await open_connection(sshd)
    with pytest.raises(PermissionError):
        await Dialer(connection).create_connection(Client, "127.0.0.1", sshd.port)
    connection.close()


async def test_names_are_not_accepted(dialer: Dialer) -> None:
    with pytest.raises(ValueError, match="localhost"):
        await dialer.create_connection(Client, "localhost", 80)


async def test_cancelled_opening_leaves_no_channel(sshd: Sshd, dialer: Dialer) -> None:
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
        opening = asyncio.create_task(dialer.create_connection(never, "127.0.0.1", port))
        await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        sshd.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            await ended.wait()
