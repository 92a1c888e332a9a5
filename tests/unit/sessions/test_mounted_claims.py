"""Claims as file systems, up to the kernel; with it: tests/net/capture/namespace/test_claims.py."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.errors import PodFailed
from ktpy.sessions import mounted_claims as module
from ktpy.sessions.mounted_claims import mounted_claims
from ktpy.wire.volume import COMMAND, VERSION, packed
from tests.kit.waiting import until

DATA = PodMount("/srv/data", VolumeKind.CLAIM, claim="data", is_live=True)
MOUNTS = [PodMount("/copy", VolumeKind.CLAIM, claim="copy"), DATA]
HELLO = packed([0, 0, VERSION])


class Helper:
    """A Helper mounts nothing: its descriptors are sockets."""

    def __init__(self) -> None:
        self.why_not: str | None = None
        self.kernel: list[socket.socket] = []

    async def mount_fuse(self, count: int) -> tuple[list[int], str | None]:
        if self.why_not is not None:
            return [], self.why_not
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(count)]
        for ours, theirs in pairs:
            theirs.setblocking(False)
            self.kernel.append(ours)
        return [theirs.detach() for _, theirs in pairs], None

    def is_unmounted(self) -> bool:
        return [one.recv(1) for one in self.kernel] == [b""] * len(self.kernel)


class Pod:
    """A Pod says the same on each channel."""

    def __init__(self, says: bytes, exit_status: int | None = None) -> None:
        self._says, self._exit_status = says, exit_status
        self.commands: list[str] = []
        self.readers: list[asyncio.StreamReader] = []

    @asynccontextmanager
    async def process(self, command: str) -> AsyncIterator[Any]:
        async def nothing() -> None:
            return

        self.commands.append(command)
        out, error = asyncio.StreamReader(), asyncio.StreamReader()
        out.feed_data(self._says)
        error.feed_data(b"ktpy-agent: it is a file\n")
        error.feed_eof()
        if self._exit_status is not None:
            out.feed_eof()
        self.readers.append(out)
        yield SimpleNamespace(stdout=out, stdin=None, stderr=error, exit_status=self._exit_status, wait_closed=nothing)


@pytest.fixture
def helper() -> Helper:
    return Helper()


def mounted(pod: Pod, helper: Helper, mounts: list[PodMount] = MOUNTS) -> Any:
    return mounted_claims(pod, mounts, helper)  # type: ignore[arg-type]


async def test_live_claims_are_served_until_the_end(helper: Helper) -> None:
    pod = Pod(HELLO)
    async with mounted(pod, helper) as numbers:
        assert (numbers, pod.commands) == ({"/srv/data": 0}, [COMMAND + "/srv/data"])
    assert helper.is_unmounted()


async def test_nothing_is_mounted_where_no_claim_is_live(helper: Helper) -> None:
    helper.why_not = "not asked"
    async with mounted(Pod(HELLO), helper, MOUNTS[:1]) as numbers:
        assert numbers == {}


async def test_where_nothing_can_be_mounted_there_are_none(helper: Helper, caplog: pytest.LogCaptureFixture) -> None:
    helper.why_not = "/dev/fuse: Permission denied"
    with caplog.at_level("INFO", module.__name__):
        async with mounted(Pod(HELLO), helper) as numbers:
            assert numbers == {}
    assert "/srv/data is claim data kept alike by synchronization, not as a file system: /dev/fuse: " in caplog.text


@pytest.mark.parametrize("says", [b'{"version": "1"}\n', packed([0, 0, VERSION + 1])])
async def test_an_agent_of_another_version_serves_none(helper: Helper, says: bytes) -> None:
    async with mounted(Pod(says), helper) as numbers:
        assert numbers == {}
    assert helper.is_unmounted()


async def test_what_the_agent_refuses_is_told(helper: Helper) -> None:
    with pytest.raises(PodFailed, match="Claim data at /srv/data cannot be served here: ktpy-agent: it is a file"):
        async with mounted(Pod(b"", exit_status=73), helper):
            pytest.fail("nothing runs on it")
    assert helper.is_unmounted()


async def test_there_is_another_channel_after_one_that_ends(helper: Helper) -> None:
    pod = Pod(HELLO)
    async with mounted(pod, helper):
        pod.readers[0].feed_eof()
        await until(lambda: len(pod.commands) == 2)
    assert pod.commands == [COMMAND + "/srv/data"] * 2
