import asyncio
import json
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


async def test_a_socket_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FolderNotWritable, match=r"cannot write to .*/absent.* \(No such file or directory\)"):
        async with control_server.serve(tmp_path / "absent/a.sock", {}):
            pytest.fail("served")
