"""Claims that are kept alike, with the agent's side in a thread; with a real pod: tests/e2e/test_run_as_pod.py."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.cluster.pods.volumes import PodMount, VolumeKind
from ktpy.errors import PodFailed
from ktpy.observe.events import Event, Notice
from ktpy.sessions import live_claims as module
from ktpy.sessions.live_claims import live_claims
from ktpy.sync.engine import Synchronizer
from ktpy.wire.files import CLAIM_COMMAND
from tests.kit.two_sides import Cut, tree
from tests.kit.waiting import until
from tests.unit.sync.agent_thread import AgentThread

DATA = PodMount("/srv/data", VolumeKind.CLAIM, claim="data", is_live=True)
INNER = PodMount("/srv/data/a[1]", VolumeKind.KUBELET)
COPY = PodMount("/copy", VolumeKind.CLAIM, claim="copy")


class Pod:
    """A Pod is the other end of the uplink, as far as live claims ask for it."""

    def __init__(self, root: Path) -> None:
        self.claim, self.program = root / "pod" / "srv" / "data", root / "laptop" / "srv" / "data"
        self.claim.mkdir(parents=True)
        self.channels: list[Cut] = []
        self.reachable = asyncio.Event()
        self.reachable.set()
        self.exit_status: int | None = None
        self.notices: list[str] = []
        self._root = root

    @asynccontextmanager
    async def process(self, command: str) -> AsyncIterator[Any]:
        await self.reachable.wait()
        folder = self._root / "pod" / command.removeprefix(CLAIM_COMMAND).lstrip("/")
        agent = Cut(await AgentThread.start(folder))
        if self.exit_status is not None:
            agent.after(0)
        self.channels.append(agent)
        error = SimpleNamespace(read=_returning(b"ktpy-agent: it is a file\n"))
        try:
            yield SimpleNamespace(
                stdout=agent, stdin=agent, stderr=error, exit_status=self.exit_status, wait_closed=_returning(None)
            )
        finally:
            agent.after(0)
            await agent.end()

    def report(self, event: Event) -> None:
        assert isinstance(event, Notice)
        self.notices.append(event.text)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        mounts, root = [COPY, DATA, INNER], self._root / "laptop"
        async with live_claims(self, mounts, root, self.report) as live:  # type: ignore[arg-type]
            assert live == [DATA]
            yield

    async def until_alike(self) -> None:
        await until(lambda: tree(self.program) == tree(self.claim))


def _returning(value: Any) -> Callable[[], Awaitable[Any]]:
    async def call() -> Any:
        return value

    return call


@pytest.fixture
async def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    return Pod(tmp_path)


async def test_what_the_claim_has_is_there_and_what_either_writes_comes_to_the_other(pod: Pod) -> None:
    (pod.claim / "book").write_text("opened\n")
    async with pod.run():
        assert (pod.program / "book").read_text() == "opened\n"
        (pod.program / "new").write_text("by the program")
        await pod.until_alike()
        (pod.claim / "new").write_text("by another pod")
        (pod.claim / "book").unlink()
        await pod.until_alike()
        assert tree(pod.program) == {"": None, "/new": b"by another pod"}
        (pod.program / "last").write_text("as it ended")
    assert (pod.claim / "last").read_text() == "as it ended"
    assert pod.notices == []


async def test_what_is_mounted_in_it_belongs_to_others(pod: Pod) -> None:
    (pod.claim / "a1").write_text("no pattern")
    (pod.program / "a[1]").mkdir(parents=True)
    (pod.program / "a[1]" / "key").touch()
    async with pod.run():
        assert (pod.program / "a1").exists()
    assert set(tree(pod.claim)) == {"", "/a1"}


async def test_it_goes_on_over_another_link(pod: Pod) -> None:
    async with pod.run():
        pod.channels[-1].after(0)
        (pod.program / "new").touch()
        (pod.claim / "other").touch()
        await pod.until_alike()
    assert (len(pod.channels), set(tree(pod.claim)), pod.notices) == (2, {"", "/new", "/other"}, [])


async def test_what_does_not_arrive_in_the_end_is_told(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    async with pod.run():
        pod.reachable.clear()
        pod.channels[-1].after(0)
        (pod.program / "new").touch()
    assert pod.notices == ["What was written to /srv/data last has not arrived in claim data."]


async def test_a_conflict_is_told(pod: Pod) -> None:
    (pod.claim / "book").write_text("opened")
    async with pod.run():
        pod.channels[-1].after(0)
        (pod.program / "book").write_text("by the program")
        (pod.claim / "book").write_text("by another pod")
        await pod.until_alike()
        assert set(tree(pod.program).values()) == {None, b"by the program", b"by another pod"}
    assert pod.notices[0].startswith("/srv/data/book was changed in claim data, too: that is kept as book.conflict-")


async def test_what_is_no_folder_is_refused(pod: Pod) -> None:
    pod.exit_status = 73
    with pytest.raises(PodFailed, match="Claim data at /srv/data cannot be kept alike here: ktpy-agent: it is a file"):
        async with pod.run():
            pytest.fail("nothing runs on it")


async def test_no_program_begins_with_a_part_of_it(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Synchronizer, "has_failed", property(lambda _: True))
    with pytest.raises(PodFailed, match="cannot be kept alike"):
        async with pod.run():
            pytest.fail("nothing runs on it")


async def test_that_it_is_kept_alike_no_more_is_told(pod: Pod) -> None:
    async with pod.run():
        pod.exit_status = 76
        pod.channels[-1].after(0)
        await until(lambda: bool(pod.notices))
    assert pod.notices[0].startswith("/srv/data is a copy from now on: Claim data")


async def test_what_is_deleted_as_soon_as_it_comes_is_deleted_there_too(pod: Pod) -> None:
    async with pod.run():
        (pod.claim / "other").write_text("by another pod")
        await until((pod.program / "other").exists)
        (pod.program / "other").unlink()
    assert set(tree(pod.claim)) == {""}
