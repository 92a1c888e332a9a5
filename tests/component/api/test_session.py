"""Sessions in processes of their own, of a command that does nothing but stand."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ktpy.api.session import Session
from ktpy.daemon import session_command
from ktpy.errors import KtpyError, SessionEnded
from ktpy.observe.status import ConnectStatus
from tests.kit.standing import COMMAND
from tests.kit.waiting import eventually, until

PROGRAM = """
import json, sys, time
from ktpy.api import session
from ktpy.daemon import session_command
session_command.KTPY = json.loads(sys.argv[1])
with session.Session("connect", sys.argv[2]):
    print("stands", flush=True)
    time.sleep(300)
"""
SOON_S = 60.0
HERE = (sys.executable, "-c", COMMAND)


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_command, "KTPY", HERE)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def told(log: Path) -> list[str]:
    return log.read_text().splitlines()


async def test_it_goes_on_while_the_loop_is_blocked_and_ends_with_its_block(log: Path) -> None:
    one: Session[ConnectStatus] = Session("connect", str(log), "talks")
    async with one:
        assert one.status.server == "https://a"
        assert os.getpgid(one.status.pid) != os.getpgrp()  # Ctrl-C is the program's
        time.sleep(0.2)  # noqa: ASYNC251 - it says more than a pipe holds, and would wait for who listens
        assert told(log) == ["begun None"]
    assert told(log) == ["begun None", "undone"]


def test_without_a_loop(log: Path) -> None:
    one: Session[ConnectStatus] = Session("connect", str(log))
    with pytest.raises(ValueError, match="mine"), one:
        raise ValueError("mine")
    assert told(log) == ["begun None", "undone"]


async def test_a_cancellation_while_it_begins_undoes_it(log: Path) -> None:
    async def block() -> None:
        async with Session[ConnectStatus]("connect", str(log), "hangs"):
            raise AssertionError("it does not stand")

    task = asyncio.create_task(block())
    await until(log.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told(log) == ["begun None", "undone"]


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (signal.SIGTERM, SessionEnded, "Everything is undone."),
        (signal.SIGKILL, KtpyError, "ktpy connect ended with -9 and without a word."),
    ],
)
async def test_one_that_ends_by_itself_cancels_its_block(
    log: Path, number: int, kind: type[KtpyError], message: str
) -> None:
    async def block() -> None:
        async with Session[ConnectStatus]("connect", str(log)) as one:
            os.kill(one.status.pid, number)
            await asyncio.Event().wait()

    with pytest.raises(KtpyError) as raised:
        await asyncio.wait_for(block(), SOON_S)
    assert (type(raised.value), raised.value.message) == (kind, message)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_its_program_however_that_ends(log: Path, number: int) -> None:
    words = [sys.executable, "-c", PROGRAM, json.dumps(HERE), str(log)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "stands\n"
        finally:
            program.send_signal(number)
        program.wait(SOON_S)
    assert eventually(lambda: told(log) == ["begun None", "undone"], timeout_s=SOON_S), told(log)
