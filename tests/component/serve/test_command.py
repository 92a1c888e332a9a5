import asyncio
import os
from pathlib import Path

import pytest

from ktpy.errors import CommandAbsent
from ktpy.serve import command


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
async def test_the_exit_code_is_the_commands(script: str, code: int) -> None:
    assert await command.run(["sh", "-c", script], {}) == code


async def test_the_command_knows_what_it_serves() -> None:
    assert (
        await command.run(["sh", "-c", 'test "$KTPY_SERVICE" = web && test -n "$PATH"'], {"KTPY_SERVICE": "web"}) == 0
    )


def test_a_command_that_is_not_there_is_refused_beforehand() -> None:
    with pytest.raises(CommandAbsent, match="no-such-command"):
        command.refuse_absent(["no-such-command"])
    command.refuse_absent(["sh"])
    command.refuse_absent([])


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obeys", "has to be killed"])
async def test_cancelled(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "GRACE_S", 0.2)
    started = tmp_path / "started"
    os.mkfifo(started)
    script = f"{trap} echo $$ > {started}; while :; do sleep 0.05; done"
    running = asyncio.create_task(command.run(["sh", "-c", script], {}))
    async with asyncio.timeout(60):
        pid = int(await asyncio.to_thread(started.read_text))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
