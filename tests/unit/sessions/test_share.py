"""A Service's traffic for a program in a network of its own."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from ktpy.cluster.changes.plan import InterceptPlan
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import PortMapping
from ktpy.daemon.caller import Caller
from ktpy.errors import KtpyError, RouteTaken, SessionLost, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.observe.events import Event, Notice
from ktpy.sessions.intercept import Intercept
from ktpy.sessions.options import InterceptOptions, parse_exchange
from ktpy.sessions.share import InsidePort, ProgramIntercept, shared

OPTIONS = InterceptOptions("exchange", "web", (parse_exchange("80"),), command=("server",))


class Inside:
    """The program's loopback; `server` is the protocol of who listens on 80."""

    def __init__(self) -> None:
        self.listening: set[int] = set()

    def is_listened_on(self, port: int) -> bool:
        return port in self.listening

    async def connect(self, make: Any, port: int) -> Any:
        if port not in self.listening:
            raise ConnectionRefusedError
        return asyncio.Transport(), make()


async def test_a_port_of_the_program_is_up_while_it_listens() -> None:
    inside: Any = Inside()
    port = InsidePort(inside, 80)
    assert not port.is_privileged
    assert not await port.probe()
    with pytest.raises(ConnectionRefusedError):
        await port.connect(asyncio.Protocol)
    inside.listening.add(80)
    assert await port.probe()
    _, protocol = await port.connect(asyncio.Protocol)
    assert isinstance(protocol, asyncio.Protocol)
    inside.listening.clear()
    assert not await port.probe()


async def test_a_udp_port_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = InterceptPlan(OPTIONS, Interceptee("shop", "dns"), (PortMapping(53, 53, None, "UDP"),))

    async def prepare(*_: object) -> InterceptPlan:
        return plan

    monkeypatch.setattr(Intercept, "_prepare", prepare)
    inside: Any = Inside()
    intercept = ProgramIntercept(
        OPTIONS, partial(InsidePort, inside), Caller(1000, 1000, "al", tmp_path), lambda _: None
    )
    with pytest.raises(TargetUnsuitable, match="gets TCP only, and port 53/UDP of dns is UDP"):
        await intercept._prepare(cast(Api, None))


class Story:
    """An intercept that stands, or not, and its end."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[Event] = []
        self.fails_at_once: KtpyError | None = None
        self.over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_undone = False
        self.caller = Caller(1000, 1000, "al", tmp_path)
        story = self

        async def run(intercept: ProgramIntercept) -> int:
            if story.fails_at_once:
                raise story.fails_at_once
            intercept._ready.set()
            try:
                return await story.over
            finally:
                story.is_undone = True

        monkeypatch.setattr(ProgramIntercept, "run", run)

    def shared(self) -> Any:
        inside: Any = Inside()
        return shared(OPTIONS, partial(InsidePort, inside), self.caller, self.told.append)


@pytest.fixture
async def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    return Story(tmp_path, monkeypatch)


async def test_it_stands_while_the_program_runs(story: Story) -> None:
    async with story.shared() as environment:
        assert environment["KTPY_SERVICE"] == "web"
        assert not story.is_undone
    assert story.is_undone
    assert story.told == []


async def test_what_keeps_it_from_standing_keeps_the_program_from_running(story: Story) -> None:
    story.fails_at_once = RouteTaken("Port 80 is taken.")
    with pytest.raises(RouteTaken):
        async with story.shared():
            pytest.fail("it does not stand")


async def test_the_program_goes_on_without_it(story: Story) -> None:
    async with story.shared():
        story.over.set_exception(SessionLost("Others cleaned up."))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert story.told == [Notice("The program gets no more traffic of web: Others cleaned up.")]
