"""`connect -- COMMAND`: the user's command runs in the session's environment, and ends it."""

import asyncio
import signal
from collections.abc import Mapping, Sequence

import pytest

from ktpy.capture.spec import CaptureSpec
from ktpy.daemon import supervision
from ktpy.errors import CommandAbsent
from ktpy.observe.events import Ended, Event, Ready
from ktpy.observe.status import ConnectStatus, ProxyStatus
from ktpy.serve import command
from ktpy.sessions import connect
from ktpy.sessions.options import ConnectOptions
from tests.unit.sessions.connect_world import HELPER, World, world
from tests.unit.sessions.test_connect import FAREWELL, UNDO, quit_session

__all__ = ["world"]

PROXY = ProxyStatus(1080, "http://127.0.0.1:1080/proxy.pac", {"ALL_PROXY": "socks5h://127.0.0.1:1080"})


class Command:
    """The user's command: it writes down its environment, and ends with its last word, if that is a number."""

    def __init__(self) -> None:
        self.environments: list[Mapping[str, str]] = []
        self.is_started = asyncio.Event()

    async def run(self, words: Sequence[str], environment: Mapping[str, str], _base: Mapping[str, str]) -> int:
        self.environments.append(environment)
        self.is_started.set()
        if not words[-1].isdecimal():
            await asyncio.Event().wait()
        return int(words[-1])


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Command:
    program = Command()
    monkeypatch.setattr(command, "run", program.run)
    return program


def options(*words: str) -> ConnectOptions:
    return ConnectOptions(capture=CaptureSpec("proxy"), command=words)


async def test_the_session_ends_with_its_exit_code(world: World, program: Command) -> None:
    world.proxy = PROXY
    async with world.session(options("sh", "7")) as running:
        assert await running == Ended(7, "sh ended with 7; everything is undone.")
    assert program.environments == [PROXY.environment]
    assert world.steps[-5:] == UNDO


async def test_quit_ends_it(world: World, program: Command) -> None:
    async with world.session(options("sh", "wait")) as running:
        await program.is_started.wait()
        assert not world.connect.handles_signal(signal.SIGINT)
        assert world.connect.handles_signal(signal.SIGTERM)
        assert not world.connect.ends_well
        await quit_session(world)
        assert await running == FAREWELL


async def test_one_that_is_not_there_changes_nothing(world: World) -> None:
    async with world.session(options("no-such-command")) as running:
        assert (await running).exit_code == CommandAbsent.exit_code
    assert world.steps == []


@pytest.mark.parametrize("words", [(), ("sh", "7")])
async def test_a_second_session_uses_the_one_that_stands(
    world: World, program: Command, words: tuple[str, ...]
) -> None:
    told: list[Event] = []
    world.proxy = PROXY
    async with world.session(options()):
        await world.ready
        ended = await supervision._supervise(connect.Connect(options(*words), HELPER, world.caller, told.append))
        running = world.connect._status()
    if words:
        assert (ended, program.environments) == (Ended(7, "sh ended with 7."), [PROXY.environment])
    else:
        assert ended.message.startswith("Already connected to lab, namespace shop, by process ")
        [ready] = told
        assert isinstance(ready, Ready)
        assert isinstance(ready.status, ConnectStatus)
        assert ready.status.proxy == running.proxy == PROXY


async def test_another_mode_is_another_session(world: World) -> None:
    async with world.session(options()):
        await world.ready
        ended = await supervision._supervise(connect.Connect(ConnectOptions(), HELPER, world.caller, lambda _: None))
        assert (ended.exit_code, ended.is_error) == (31, True)
