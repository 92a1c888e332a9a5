"""The agent's real process over pipes: edits on both sides, cuts, and kills of the agent at any moment."""

import asyncio
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktpy.errors import LinkLost
from ktpy.sync.engine import synced
from ktpy.sync.options import SyncOptions
from tests.component.agent.pod import AGENT_IMAGE
from tests.kit.two_sides import EDITS, Edit, tree, two_sides


def command(folder: Path) -> list[str]:
    return ["/usr/bin/python3", "-IS", str(AGENT_IMAGE / "ktpy-agent"), "sync", str(folder)]


class AgentProcess:
    """An AgentProcess is the channel to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        assert process.stdout
        self._process = process
        self.read, self.write, self.drain = process.stdout.read, process.stdin.write, process.stdin.drain

    @classmethod
    async def start(cls, folder: Path) -> "AgentProcess":
        pipe = subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command(folder), stdin=pipe, stdout=pipe))

    async def end(self) -> None:
        """Close the channel both ways: an agent that writes blocks as long as nobody reads."""
        await self._process.communicate(b"")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


@given(st.lists(EDITS, min_size=2, max_size=3), st.floats(0, 0.05))
@settings(max_examples=6, deadline=None)
def test_nothing_is_lost_when_the_agent_is_killed(rounds: list[list[Edit]], kill_after_s: float) -> None:
    async def run(root: Path) -> None:
        agents: list[AgentProcess] = []

        async def connect(folder: Path) -> AgentProcess:
            agents.append(await AgentProcess.start(folder))
            return agents[-1]

        async with two_sides(root, connect) as sides:
            await sides.connect()
            for edits in rounds:
                asyncio.get_running_loop().call_later(kill_after_s, agents[-1].kill)
                await sides.edit(edits)
                await asyncio.sleep(kill_after_s)
            await sides.settle()
            assert sides.lost() == set()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        asyncio.run(run(Path(root)))


async def test_a_folder_is_filled_and_kept_alike(tmp_path: Path) -> None:
    (tmp_path / "laptop" / "d").mkdir(parents=True)
    (tmp_path / "laptop" / "d" / "a").write_text("a")
    async with synced(tmp_path / "laptop", SyncOptions(), lambda _: None) as sync:
        agent = await AgentProcess.start(tmp_path / "container")
        running = asyncio.create_task(sync.run(agent, agent))
        async with asyncio.timeout(60):
            await sync.in_step()
            (tmp_path / "container" / "d" / "b").write_text("b")
            while sync.status.entries < 3:  # noqa: ASYNC110 - a count tells nobody
                await asyncio.sleep(0.005)
        assert tree(tmp_path / "laptop") == tree(tmp_path / "container")
        assert (sync.status.entries, sync.status.conflicts, sync.status.problems) == (3, 0, ())
        agent.kill()
        with pytest.raises(LinkLost):
            await running
        await agent.end()


def test_what_no_laptop_says_ends_the_agent(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path / "new"), input=b"\0\0\0\0\xff", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (76, b"")
    assert b"not understood" in done.stderr


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(command(tmp_path / "file"), input=b"", capture_output=True, check=False)
    assert done.returncode == 73
    assert b"file: File exists" in done.stderr


def test_a_failure_of_the_system_is_said(tmp_path: Path) -> None:
    with (tmp_path / "channel").open("w") as unreadable:
        done = subprocess.run(command(tmp_path / "new"), stdin=unreadable, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (74, f"ktpy-agent: {tmp_path / 'new'}: Bad file descriptor\n".encode())
