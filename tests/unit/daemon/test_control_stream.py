"""Answers of a session's control socket, in an event loop."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from ktpy.daemon import control_server
from ktpy.daemon.control_stream import follow
from ktpy.errors import KtpyError


async def numbers(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    for number in range(request["to"]):
        yield {"number": number, "body": "x" * 200_000}
    if request.get("fails"):
        raise KtpyError("It broke.", hint="Mend it.")
    if request.get("waits"):
        await asyncio.Event().wait()


async def test_answers_come_until_the_client_leaves(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {}, {"count": numbers}):
        answers = follow(tmp_path / "s", "count", to=3, waits=True)
        assert [(await anext(answers))["number"] for _ in range(3)] == [0, 1, 2]
        await answers.aclose()


async def test_what_the_session_says_of_a_failure(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {}, {"count": numbers}):
        answers = follow(tmp_path / "s", "count", to=1, fails=True)
        await anext(answers)
        with pytest.raises(KtpyError, match=r"It broke\.") as failed:
            await anext(answers)
        assert failed.value.hint == "Mend it."
        with pytest.raises(KtpyError, match="unknown request"):
            await anext(follow(tmp_path / "s", "other"))


async def test_a_session_that_ends_in_the_middle_of_a_line(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"number": 1}\n{"num')
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "s"):
        assert [one async for one in follow(tmp_path / "s", "count")] == [{"number": 1}]


async def test_no_session(tmp_path: Path) -> None:
    with pytest.raises(KtpyError, match="is not reachable"):
        await anext(follow(tmp_path / "none", "watch"))
