import asyncio
from pathlib import Path

import pytest

from ktpy.daemon import control
from ktpy.errors import KtpyError


async def test_a_verb_is_answered_with_what_its_function_returns(tmp_path: Path) -> None:
    async with control.serve(tmp_path / "s", {"status": lambda: {"server": "https://cluster"}}):
        assert await asyncio.to_thread(control.ask, tmp_path / "s", "status") == {"server": "https://cluster"}


async def test_an_answer_longer_than_one_read_arrives_whole(tmp_path: Path) -> None:
    answer = {"ranges": "x" * 300_000}
    async with control.serve(tmp_path / "s", {"status": lambda: answer}):
        assert await asyncio.to_thread(control.ask, tmp_path / "s", "status") == answer


@pytest.mark.parametrize("line", [b"\n", b"{\n", b'"status"\n', b'{"verb": "format"}\n', b'{"verb": []}\n', b"\xff\n"])
async def test_a_request_it_does_not_know_is_answered_with_an_error(tmp_path: Path, line: bytes) -> None:
    async with control.serve(tmp_path / "s", {"status": dict}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(line)
        assert await reader.readline() == b'{"error": "unknown request"}\n'
        writer.close()


async def test_quit_returns_when_the_session_is_gone(tmp_path: Path) -> None:
    asked, undone = asyncio.Event(), asyncio.Event()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"{}\n")
        asked.set()
        await undone.wait()
        writer.close()

    async with await asyncio.start_unix_server(session, tmp_path / "s"):
        quitting = asyncio.create_task(asyncio.to_thread(control.quit_session, tmp_path / "s"))
        await asked.wait()
        assert not quitting.done()
        undone.set()
        await quitting


def test_a_socket_nobody_listens_on_is_said_to_be_unreachable(tmp_path: Path) -> None:
    with pytest.raises(KtpyError, match="is not reachable"):
        control.ask(tmp_path / "absent", "status")
