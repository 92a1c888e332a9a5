"""A folder kept alike over SSH channels."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from ktpy.errors import LinkLost
from ktpy.link.ssh_packets import ProgramInput
from ktpy.sync.engine import synced
from ktpy.sync.options import SyncOptions
from ktpy.wire.sync.frames import COMMAND
from tests.component.sync import over_ssh
from tests.kit.two_sides import tree


async def test_a_folder_goes_on_over_another_connection(tmp_path: Path) -> None:
    laptop, container = tmp_path / "laptop", tmp_path / "container"
    laptop.mkdir()
    (laptop / "a").write_bytes(os.urandom(3 << 20))
    (tmp_path / "sshd").mkdir()
    async with synced(laptop, SyncOptions(), lambda _: None) as sync, asyncio.timeout(60):
        with over_ssh.sshd(tmp_path / "sshd") as server:
            async with over_ssh.channel(server, f"{COMMAND}{container}") as process:
                running = asyncio.create_task(sync.run(process.stdout, ProgramInput(process)))
                await sync.in_step()
                server.signal(signal.SIGKILL)
                with pytest.raises(LinkLost):
                    await running
        assert sync.status.state == "cut"
        (laptop / "b").write_text("b")
        (container / "c").write_text("c")
        with over_ssh.sshd(tmp_path / "sshd") as server:
            async with over_ssh.channel(server, f"{COMMAND}{container}") as process:
                running = asyncio.create_task(sync.run(process.stdout, ProgramInput(process)))
                await sync.in_step()
                assert tree(laptop) == tree(container)
                assert len(tree(laptop)) == 4
                running.cancel()
                await asyncio.wait({running})
