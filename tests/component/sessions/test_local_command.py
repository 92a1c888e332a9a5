"""A command that `ktpy up` begins is a session, which tells of it and ends it with all that it has started."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import COMMAND, RuntimeDirectory
from ktpy.errors import CommandAbsent, CommandEnded
from ktpy.helper.processes import start_ticks
from ktpy.observe.events import Event, Ready
from ktpy.observe.status import CommandStatus, UpEntry
from ktpy.sessions.local_command import CommandOptions, LocalCommand
from tests.kit.waiting import until

UP = UpEntry("/home/al/ktpy.yaml", "command-api", "abc")
CALLER = Caller(1000, 1000, "al", Path())


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RuntimeDirectory:
    found = RuntimeDirectory(tmp_path / "run")
    monkeypatch.setattr(RuntimeDirectory, "of", lambda _: found)
    monkeypatch.chdir(tmp_path)  # back afterwards: the session goes to the command's folder
    return found


def command(
    events: list[Event], *words: str, folder: Path = Path(), environment: Mapping[str, str] | None = None
) -> LocalCommand:
    return LocalCommand(CommandOptions("api", words, folder, environment or {}, UP), CALLER, events.append)


async def test_it_stands_in_its_folder_and_ends_with_its_children(runtime: RuntimeDirectory, tmp_path: Path) -> None:
    events: list[Event] = []
    script = 'echo "$WHO $KTPY_UP_ENTRY $PWD" > told; sleep 300 & echo $! > child; wait'
    one = command(events, "sh", "-c", script, folder=tmp_path, environment={"WHO": "al"})
    running = asyncio.create_task(one.run())
    await until(lambda: bool(events))
    [ready] = events
    assert isinstance(ready, Ready)
    [path] = runtime.control_sockets(COMMAND)
    status: Any = await asyncio.to_thread(control_client.ask_status, path)
    assert isinstance(status, CommandStatus)
    assert (status.reference, status.words[0], status.up) == ("api", "sh", UP)
    await until(lambda: (tmp_path / "child").exists() and bool((tmp_path / "child").read_text()), "its child")
    assert (tmp_path / "told").read_text() == f"al  {tmp_path}\n"
    await asyncio.to_thread(control_client.ask, path, "quit")
    assert await running == 0
    assert one.farewell == "api was ended."
    assert start_ticks(int((tmp_path / "child").read_text())) is None
    assert list(runtime.path.iterdir()) == []


async def test_one_that_ends_by_itself(runtime: RuntimeDirectory) -> None:
    events: list[Event] = []
    with pytest.raises(CommandEnded, match="api has ended with 3"):
        await command(events, "sh", "-c", "exit 3").run()
    with pytest.raises(CommandEnded, match="api has ended with 143"):
        await command(events, "sh", "-c", "kill $$").run()
    assert (await command(events, "true").run(), events) == (0, [])
    assert list(runtime.path.iterdir()) == []


async def test_what_cannot_run(runtime: RuntimeDirectory, tmp_path: Path) -> None:
    with pytest.raises(CommandAbsent, match="There is no command nope"):
        await command([], "nope").run()
    with pytest.raises(CommandAbsent, match="api cannot run in"):
        await command([], "true", folder=tmp_path / "absent").run()
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(CommandAbsent, match="cannot be executed"):
        await command([], "./text", folder=tmp_path).run()
