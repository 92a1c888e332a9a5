"""The folder of a dev session, over SSH channels."""

import asyncio
from pathlib import Path

import pytest

from ktpy.errors import SyncFailed
from ktpy.sessions.dev_sync import synced_folder
from ktpy.sessions.options import SyncFolder
from tests.component.link.shadow import open_connection
from tests.component.sync import over_ssh


async def test_a_folder_that_the_container_does_not_give_is_said(tmp_path: Path) -> None:
    for name in ("laptop", "sshd"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    with over_ssh.sshd(tmp_path / "sshd") as server:
        connection = await open_connection(server)
        try:
            folder = SyncFolder(str(tmp_path / "laptop"), str(tmp_path / "file" / "src"))
            with pytest.raises(SyncFailed, match=r"file/src: Not a directory\.$"):
                async with asyncio.timeout(20), synced_folder(connection, folder, lambda _: None):
                    pass
        finally:
            connection.close()
            await connection.wait_closed()
