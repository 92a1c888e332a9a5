"""The folder of a dev session, over SSH channels."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from ktpy.errors import SyncFailed
from ktpy.link.connection import AgentConnection
from ktpy.sessions import dev_sync
from ktpy.sessions.dev_sync import synced_folder
from ktpy.sessions.options import SyncFolder
from ktpy.wire.session import AgentHello
from tests.component.link.shadow import open_connection
from tests.component.sync import over_ssh
from tests.kit.waiting import until


class Uplink:
    """A link that stands, and then another."""

    def __init__(self, connection: AgentConnection[AgentHello]) -> None:
        self._connection = connection
        self.processes: list[asyncssh.SSHClientProcess[bytes]] = []

    @asynccontextmanager
    async def process(self, command: str) -> "AsyncIterator[asyncssh.SSHClientProcess[bytes]]":
        async with self._connection.ssh.create_process(command, encoding=None) as process:
            self.processes.append(process)
            yield process


@asynccontextmanager
async def linked(tmp_path: Path) -> AsyncIterator[Uplink]:
    for name in ("laptop", "sshd"):
        (tmp_path / name).mkdir()
    with over_ssh.sshd(tmp_path / "sshd") as server:
        connection = await open_connection(server)
        try:
            async with asyncio.timeout(60):
                yield Uplink(connection)
        finally:
            connection.close()
            await connection.wait_closed()


async def test_a_folder_that_the_container_does_not_give_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with linked(tmp_path) as uplink:
        folder = SyncFolder(str(tmp_path / "laptop"), str(tmp_path / "file" / "src"))
        with pytest.raises(SyncFailed, match=r"file/src: Not a directory\.$"):
            async with synced_folder(cast(Any, uplink), folder, lambda _: None, lambda _: None):
                pass


async def test_it_goes_on_over_the_next_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_sync, "PAUSE_S", 0.01)
    monkeypatch.setattr(dev_sync, "REASON_S", 0.1)
    laptop, there = tmp_path / "laptop", tmp_path / "there"
    async with linked(tmp_path) as uplink:
        (laptop / "a").write_text("one")
        folder = SyncFolder(str(laptop), str(there))
        async with synced_folder(cast(Any, uplink), folder, lambda _: None, lambda _: None):
            assert (there / "a").read_text() == "one"
            uplink.processes[0].close()
            (laptop / "a").write_text("two, meanwhile")
            await until(lambda: (there / "a").read_text() == "two, meanwhile", "the change")
            assert len(uplink.processes) > 1
