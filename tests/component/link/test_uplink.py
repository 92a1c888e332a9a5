"""An uplink to a real OpenSSH server that is lost again and again."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import le
from pathlib import Path
from typing import Any

from ktpy.errors import KtpyError, LinkLost
from ktpy.link.dial_policy import DialAgain, DialUntilUp
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.uplink import AgentPod, Uplink
from tests.component.link.shadow import AGENT, Client
from tests.component.link.sshd import Sshd, echo, target
from tests.kit.waiting import until

LOST = LinkLost("The cable is out.")
KEPT_BYTES = 256 << 10
"""What ten rounds may leave: less than one connection takes."""


@asynccontextmanager
async def running(sshd: Sshd) -> AsyncIterator[Uplink[Any]]:
    async def find_pod() -> AgentPod:
        async def unreadable() -> None: ...

        return AgentPod("pod", asyncio.get_running_loop(), unreadable, "", sshd.place)

    async def take(_: KtpyError) -> None: ...

    policy = DialAgain(DialUntilUp(10), lambda: True, take, take)
    uplink = Uplink(find_pod, sshd.key, SHADOW_SESSION, policy)
    task = asyncio.create_task(uplink.run())
    try:
        await uplink.wait_up()
        yield uplink
    finally:
        task.cancel()
        await asyncio.wait({task})
        uplink.close()


async def round_of(uplink: Uplink[Any], port: int) -> None:
    """Open connections are reset, and one that is asked for while the link is lost comes about once it is back."""
    _, before = await uplink.create_connection(Client, "127.0.0.1", port)
    uplink.lose(LOST)
    transport, after = await uplink.create_connection(Client, "127.0.0.1", port)
    assert isinstance(await before.lost, ConnectionAbortedError)
    transport.write(b"x")
    await until(lambda: after.received == b"x", "the echo")
    transport.close()
    assert await after.lost is None


async def test_ten_rounds_leave_as_much_as_one(sshd: Sshd) -> None:
    async with target(echo) as port, running(sshd) as uplink:
        for _ in range(2):
            await round_of(uplink, port)
        tracemalloc.start()
        once, once_bytes = used(), kept_bytes()
        for _ in range(10):
            await round_of(uplink, port)
        # The target's side closes later, as it may have had to before.
        await until(lambda: all(map(le, used(), once)), "tasks and descriptors as before")
        assert kept_bytes() - once_bytes < KEPT_BYTES
        tracemalloc.stop()


async def test_what_was_lost_is_no_more_in_memory_when_the_next_connection_stands(sshd: Sshd) -> None:
    """Python itself looks for what refers to itself after dozens of losses: gc.disable() is what that comes to here."""
    async with target(echo) as port, running(sshd) as uplink:
        gc.collect()
        gc.disable()
        try:
            before = ssh_connections()
            for _ in range(5):
                await round_of(uplink, port)
            assert ssh_connections() <= before + 1, "the latest that was lost may be about to close"
        finally:
            gc.enable()


async def test_a_first_connection_that_was_frozen_with_the_session_goes_too(sshd: Sshd) -> None:
    async with target(echo) as port, running(sshd) as uplink:
        first = [weakref.ref(one) for one in gc.get_objects() if is_ssh_connection(one)]
        assert first
        gc.freeze()
        try:
            for _ in range(2):  # the latest that was lost may be about to close
                await round_of(uplink, port)
            assert not any(one() for one in first)
            assert gc.get_freeze_count() > 0, "imports are not looked through with each collection"
        finally:
            gc.unfreeze()


def is_ssh_connection(one: object) -> bool:
    return type(one).__name__ == "SSHClientConnection"


def ssh_connections() -> int:
    return sum(map(is_ssh_connection, gc.get_objects()))


def used() -> tuple[int, int]:
    """Tasks, and open descriptors."""
    return len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir()))


def kept_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def test_a_command_on_a_channel_of_its_own(sshd: Sshd) -> None:
    """It says more than a window holds, and its end does not end the session."""
    sshd.install(
        f"import os\nif os.environ.get('SSH_ORIGINAL_COMMAND') == 'tell':\n  print('x' * 5_000_000)\n  exit()\n{AGENT}"
    )
    async with running(sshd) as uplink:
        for _ in range(2):
            assert sum([len(part) async for part in uplink.output_of("tell")]) == 5_000_001


async def test_a_command_that_does_not_end_holds_up_nobody_who_gives_it_up(sshd: Sshd) -> None:
    endless = "print('begun', flush=True)\n  import time\n  while os.getppid() != 1: time.sleep(0.1)"
    sshd.install(f"import os\nif os.environ.get('SSH_ORIGINAL_COMMAND') == 'tell':\n  {endless}\n{AGENT}")
    async with running(sshd) as uplink:
        begun = asyncio.Event()

        async def follow() -> None:
            async for _ in uplink.output_of("tell"):
                begun.set()

        task = asyncio.create_task(follow())
        await begun.wait()
        task.cancel()
        assert await asyncio.wait({task}, timeout=60) == ({task}, set())
