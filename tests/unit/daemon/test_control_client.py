import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from ktpy.daemon import control_client, control_server
from ktpy.errors import KtpyError, SessionSilent
from ktpy.observe.codec import to_json
from ktpy.observe.status import ConnectStatus

STATUS = ConnectStatus(pid=7, server="https://a", context="lab", namespace="shop", state="connected", uptime_s=1.0)


async def test_a_status_arrives_as_the_value_it_was(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {"status": lambda: to_json(STATUS)}):
        assert await asyncio.to_thread(control_client.ask_status, tmp_path / "s") == STATUS


async def test_an_answer_longer_than_one_read_arrives_whole(tmp_path: Path) -> None:
    answer = {"ranges": "x" * 300_000}
    async with control_server.serve(tmp_path / "s", {"status": lambda: answer}):
        assert await asyncio.to_thread(control_client.ask, tmp_path / "s", "status") == answer


async def test_a_failure_of_the_session_is_raised_in_its_own_words(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise KtpyError("It is broken.", hint="Mend it.")

    async with control_server.serve(tmp_path / "s", {"status": fail}):
        with pytest.raises(KtpyError, match=r"^It is broken\.$") as raised:
            await asyncio.to_thread(control_client.ask, tmp_path / "s", "status")
    assert raised.value.hint == "Mend it."


@pytest.mark.parametrize("answer", [b"", b"nonsense\n"])
async def test_a_session_that_does_not_answer(tmp_path: Path, answer: bytes) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(session, tmp_path / "s"):
        with pytest.raises(KtpyError, match="did not answer"):
            await asyncio.to_thread(control_client.ask, tmp_path / "s", "status")


def test_a_session_that_is_stopped_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_client, "ANSWER_TIMEOUT_S", 0.01)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        with pytest.raises(SessionSilent, match=f"of process {os.getpid()} has not answered") as raised:
            control_client.ask(tmp_path / "s", "status")
    assert f"kill -CONT {os.getpid()}" in str(raised.value.hint)


async def test_quit_returns_when_the_session_is_gone(tmp_path: Path) -> None:
    asked, undone = asyncio.Event(), asyncio.Event()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"{}\n")
        asked.set()
        await undone.wait()
        writer.close()

    async with await asyncio.start_unix_server(session, tmp_path / "s"):
        quitting = asyncio.create_task(asyncio.to_thread(control_client.quit_session, tmp_path / "s"))
        await asked.wait()
        assert not quitting.done()
        undone.set()
        await quitting


async def test_a_session_that_does_not_end_in_time(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {"quit": dict}):
        with pytest.raises(KtpyError, match=r"has not after 0 s"):
            await asyncio.to_thread(control_client.quit_session, tmp_path / "s", 0.1)


def test_a_socket_nobody_listens_on_is_said_to_be_unreachable(tmp_path: Path) -> None:
    with pytest.raises(KtpyError, match="is not reachable"):
        control_client.ask(tmp_path / "absent", "status")


async def test_answers_are_followed_until_the_session_ends(tmp_path: Path) -> None:
    async def count(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        for number in range(request["most"]):
            yield {"number": number}

    async with control_server.serve(tmp_path / "s", {}, {"count": count}):
        told = await asyncio.to_thread(lambda: list(control_client.follow(tmp_path / "s", "count", most=3)))
    assert told == [{"number": 0}, {"number": 1}, {"number": 2}]


@pytest.mark.parametrize("told", [0, 2])
async def test_a_failure_of_what_is_followed_is_raised_in_its_own_words(tmp_path: Path, told: int) -> None:
    async def fail(_: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        for number in range(told):
            yield {"number": number}
        raise KtpyError("It is broken.", hint="Mend it.")

    async with control_server.serve(tmp_path / "s", {}, {"talk": fail}):
        with pytest.raises(KtpyError, match=r"^It is broken\.$"):
            await asyncio.to_thread(lambda: list(control_client.follow(tmp_path / "s", "talk")))
