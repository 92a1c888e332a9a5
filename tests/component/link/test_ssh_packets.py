"""New keys in the middle of transfers, through a real OpenSSH server."""

import asyncio
import random

import pytest
from asyncssh.connection import SSHConnection

from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.wire.session import AgentHello
from tests.component.link.shadow import Client
from tests.component.link.sshd import echo, target

REKEY_BYTES = 300_000
SIZE = 12 * REKEY_BYTES


async def test_new_keys_in_the_middle_of_data(
    connection: AgentConnection[AgentHello], dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_keys = 0
    general = SSHConnection.send_newkeys

    def counted(ssh: SSHConnection, k: bytes, h: bytes) -> None:
        nonlocal new_keys
        new_keys += 1
        general(ssh, k, h)

    monkeypatch.setattr(SSHConnection, "send_newkeys", counted)
    connection.ssh._rekey_bytes = REKEY_BYTES

    async def there_and_back(port: int, seed: int) -> None:
        transport, client = await dialer.create_connection(Client, "127.0.0.1", port)
        sent = random.Random(seed).randbytes(SIZE)
        for position in range(0, SIZE, 50_000):
            await client.may_write.wait()
            transport.write(sent[position : position + 50_000])
        transport.write_eof()
        assert await client.lost is None
        assert client.received == sent

    async with target(echo) as port, asyncio.timeout(60), asyncio.TaskGroup() as group:
        for seed in range(3):
            group.create_task(there_and_back(port, seed))
    assert new_keys >= 5
