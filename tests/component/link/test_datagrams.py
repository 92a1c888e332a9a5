"""The link for datagrams, to a stand-in agent behind a real sshd."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from ktpy.errors import KtpyError
from ktpy.link import datagrams
from ktpy.link.datagrams import DatagramLink
from ktpy.link.uplink import AgentPod
from ktpy.wire.datagram import COMMAND, DATAGRAM, NOWHERE, Frame
from tests.component.link.shadow import HELLO
from tests.component.link.sshd import Sshd
from tests.kit.waiting import until

# Sends back whatever comes, as it comes; the hello and the first bytes go out together.
ECHOING = f"""
import os
assert os.environ["SSH_ORIGINAL_COMMAND"] == {COMMAND!r}
data = {json.dumps(HELLO).encode()!r} + b"\\n" + os.read(0, 65536)
while data:
    os.write(1, data)
    data = os.read(0, 65536)
"""
DEAF = f"""
import time
print({json.dumps(json.dumps(HELLO))}, flush=True)
time.sleep(60)
"""


def frame(payload: bytes) -> Frame:
    return Frame(DATAGRAM, 1, 53, NOWHERE, payload)


class Received(list[bytes]):
    """Payloads of datagrams."""

    def take(self, frames: Iterable[Frame]) -> None:
        self.extend(one.payload for one in frames if one.kind == DATAGRAM)


@contextlib.asynccontextmanager
async def linked(
    sshd: Sshd,
    agent: str,
    receive: Callable[[Iterable[Frame]], None] = lambda _: None,
    on_trouble: Callable[[KtpyError], None] = lambda _: None,
    on_traffic: Callable[[], None] = lambda: None,
) -> AsyncIterator[DatagramLink]:
    sshd.install(agent)

    async def find_pod() -> AgentPod:
        async def printed() -> None:
            return None

        connector: Any = asyncio.get_running_loop()
        return AgentPod("pod", connector, printed, "", sshd.place)

    link = DatagramLink(find_pod, sshd.key, on_trouble, on_traffic)
    running = asyncio.create_task(link.run(receive))
    try:
        yield link
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_to_and_fro_and_what_is_sent_early_waits(sshd: Sshd) -> None:
    received = Received()
    async with linked(sshd, ECHOING, received.take) as link:
        assert link.is_up
        assert link.send(frame(b"early").encoded())
        await until(lambda: b"early" in received)
        big = bytes(range(256)) * 250
        for _ in range(10):
            assert link.send(frame(big).encoded())
        await until(lambda: received == [b"early", *[big] * 10])


async def test_it_tells_of_traffic_both_ways(sshd: Sshd) -> None:
    told: list[str] = []
    received = Received()

    def receive(frames: Iterable[Frame]) -> None:
        assert told[-1] == "traffic"
        received.take(frames)

    async with linked(sshd, ECHOING, receive, on_traffic=lambda: told.append("traffic")) as link:
        await until(lambda: link._connection is not None)
        before = len(told)
        link.send(frame(b"one").encoded())
        assert len(told) == before + 1
        await until(lambda: received == [b"one"])
        assert len(told) >= before + 2


async def test_it_is_dialled_again(sshd: Sshd) -> None:
    received = Received()
    async with linked(sshd, ECHOING, received.take) as link:
        link.send(frame(b"one").encoded())
        await until(lambda: received == [b"one"])
        sshd.signal(signal.SIGKILL)
        await until(lambda: not link.is_up)
        assert not link.send(frame(b"lost").encoded())
        sshd.stop()
        sshd.start()
        sshd.install(ECHOING)
        await until(lambda: link.is_up)
        link.send(frame(b"two").encoded())
        await until(lambda: received == [b"one", b"two"])


async def test_what_nobody_reads_is_lost_beyond_a_bound(sshd: Sshd) -> None:
    async with linked(sshd, DEAF) as link:
        chunk, sent = frame(bytes(60000)).encoded(), 0
        link.send(chunk)
        await until(lambda: link._connection is not None)
        while link.send(chunk):
            sent += len(chunk)
            assert sent < 50 << 20
            await asyncio.sleep(0)
        assert sent > datagrams.QUEUE_BYTES
        assert link.is_up


async def test_before_the_first_connection_no_more_waits_than_that(sshd: Sshd) -> None:
    sshd.signal(signal.SIGSTOP)
    async with linked(sshd, DEAF) as link:
        chunk = frame(bytes(60000)).encoded()
        sent = 0
        while link.send(chunk):
            sent += 1
        assert sent == datagrams.QUEUE_BYTES // len(chunk) + 1


async def test_what_keeps_it_down_is_told_once(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "TROUBLE_S", 0.2)
    told: list[str] = []
    async with linked(
        sshd, "import sys; sys.exit('no room')", on_trouble=lambda error: told.append(str(error))
    ) as link:
        await until(lambda: bool(told))
        await asyncio.sleep(0.5)
        assert not link.is_up
    assert told == ["The agent in the pod ended the session: no room."]


async def test_an_agent_that_talks_nonsense_loses_the_link(sshd: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: object) -> None:
        raise ValueError("nonsense")

    async with linked(sshd, ECHOING, refuse) as link:
        link.send(frame(b"x").encoded())
        await until(lambda: link._early is None and not link.is_up)
