import asyncio
import itertools
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from ktpy.daemon import control_server
from ktpy.errors import ApiUnreachable, FolderNotWritable


async def exchange(path: Path, *lines: bytes) -> list[bytes]:
    """The answers to some requests on one connection."""
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    answers = []
    for line in lines:
        writer.write(line)
        answers.append(await reader.readline())
    writer.close()
    return answers


async def test_a_verb_is_answered_with_what_its_function_returns(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {"status": lambda: {"server": "https://cluster"}}):
        assert await exchange(tmp_path / "s", b'{"verb": "status"}\n') == [b'{"server": "https://cluster"}\n']


async def test_requests_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    async with control_server.serve(tmp_path / "s", {"a": lambda: {"a": 1}, "b": lambda: {"b": 2}}):
        answers = await exchange(tmp_path / "s", b'{"verb": "a"}\n', b'{"verb": "b"}\n')
    assert answers == [b'{"a": 1}\n', b'{"b": 2}\n']


@pytest.mark.parametrize("line", [b"\n", b"{\n", b'"status"\n', b'{"verb": "format"}\n', b'{"verb": []}\n', b"\xff\n"])
async def test_a_request_it_does_not_know_is_answered_with_an_error(tmp_path: Path, line: bytes) -> None:
    async with control_server.serve(tmp_path / "s", {"status": dict}):
        assert await exchange(tmp_path / "s", line) == [b'{"error": "unknown request"}\n']


FAILURES = {
    "explained": (ApiUnreachable("Away.", hint="Wait."), {"error": "Away.", "hint": "Wait."}),
    "lookup": (KeyError("server"), {"error": "The session could not answer: KeyError('server')."}),
    "type": (TypeError("no"), {"error": "The session could not answer: TypeError('no')."}),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_verb_that_fails_is_answered_with_its_own_failure(tmp_path: Path, name: str) -> None:
    failure, answer = FAILURES[name]

    def fail() -> dict[str, Any]:
        raise failure

    async with control_server.serve(tmp_path / "s", {"status": fail}):
        [line] = await exchange(tmp_path / "s", b'{"verb": "status"}\n')
    assert json.loads(line) == answer


async def test_a_stream_is_told_answer_by_answer_and_ends_with_its_client(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def count(request: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        try:
            for number in itertools.count(request["from"]):
                yield {"number": number}
                if number == 3:
                    await asyncio.Event().wait()
        finally:
            ended.set()

    async with control_server.serve(tmp_path / "s", {}, {"count": count}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"verb": "count", "from": 2}\n')
        assert [await reader.readline(), await reader.readline()] == [b'{"number": 2}\n', b'{"number": 3}\n']
        assert not ended.is_set()
        writer.close()
        await ended.wait()


async def test_what_a_stream_tells_in_one_turn_comes_together(tmp_path: Path) -> None:
    async def tell(_: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        for number in range(3):
            yield {"number": number}
        await asyncio.Event().wait()

    async with control_server.serve(tmp_path / "s", {}, {"tell": tell}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"verb": "tell"}\n')
        assert await reader.read(1000) == b'{"number": 0}\n{"number": 1}\n{"number": 2}\n'
        writer.close()


async def test_a_stream_waits_for_a_slow_client(tmp_path: Path) -> None:
    told = 0

    async def talk(_: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        nonlocal told
        while True:
            yield {"words": "x" * 10_000}
            told += 1

    async with control_server.serve(tmp_path / "s", {}, {"talk": talk}):
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"verb": "talk"}\n')
        before = -1
        while told > before:
            before = told
            for _ in range(100):
                await asyncio.sleep(0)
        assert 0 < told < 1000
        writer.close()


@pytest.mark.parametrize("name", FAILURES)
async def test_a_stream_that_fails_ends_with_its_own_failure(tmp_path: Path, name: str) -> None:
    failure, answer = FAILURES[name]

    async def fail(_: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        yield {}
        raise failure

    async with control_server.serve(tmp_path / "s", {}, {"talk": fail}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"verb": "talk"}\n')
        assert [json.loads(line) async for line in reader] == [{}, answer]
        writer.close()


async def test_a_socket_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FolderNotWritable, match=r"cannot write to .*/absent.* \(No such file or directory\)"):
        async with control_server.serve(tmp_path / "absent/a.sock", {}):
            pytest.fail("served")


async def test_a_session_that_ends_while_it_tells_a_client_complains_of_nothing(tmp_path: Path) -> None:
    async def wait(_: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        yield {}
        await asyncio.Event().wait()

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    before = asyncio.all_tasks()
    async with control_server.serve(tmp_path / "s", {}, {"wait": wait}):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"verb": "wait"}\n')
        await reader.readline()
    telling = asyncio.all_tasks() - before
    for task in telling:
        task.cancel()  # as asyncio.run does in the end
    await asyncio.wait(telling)
    await asyncio.sleep(0)
    assert complaints == []
    writer.close()
