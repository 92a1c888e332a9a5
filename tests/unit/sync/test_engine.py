"""The whole synchronization, with the agent's side in a thread."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings

from tests.kit.skipping_loop import SkippingLoop
from tests.kit.two_sides import EDITS, Edit, two_sides
from tests.unit.sync.agent_thread import AgentThread


@given(EDITS)
@settings(max_examples=40, deadline=None)
def test_whatever_both_sides_do_nothing_is_lost(edits: list[Edit]) -> None:
    async def run(root: Path) -> None:
        async with two_sides(root, AgentThread.start) as sides:
            await sides.connect()
            await sides.edit(edits)
            await sides.settle()
            assert sides.lost() == set()

    with tempfile.TemporaryDirectory(dir="/dev/shm") as root, asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(run(Path(root)))
