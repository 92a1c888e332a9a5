"""`ktpy mcp` as a coding agent has it: a process at the other end of two pipes, and the library's own client."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.kit.standing import COMMAND
from tests.kit.waiting import eventually

READS = ["doctor", "logs", "requests", "services", "status", "version", "who"]
SOON_S = 60.0
CHANGES = ["exchange", "forward", "leave", "mesh", "preview", "run"]
SERVER = """
import json, sys
from ktpy.daemon import session_command
session_command.KTPY = json.loads(sys.argv[1])
sys.argv[:] = ["ktpy", "mcp", "--allow-changes"]
from ktpy.__main__ import main
main()
"""
"""A server whose sessions are of a command that does nothing but stand."""


@asynccontextmanager
async def agent(home: Path, *words: str) -> AsyncIterator[Client]:
    environment = {"HOME": str(home), "KUBECONFIG": str(home / "absent")}
    server = StdioServerParameters(command=sys.executable, args=["-m", "ktpy", "mcp", *words], env=environment)
    async with Client(server) as client:
        yield client


async def test_an_agent_that_may_look_only(tmp_path: Path) -> None:
    async with agent(tmp_path) as client:
        found = (await client.list_tools()).tools
        assert sorted(one.name for one in found) == READS
        assert all(one.annotations and one.annotations.read_only_hint for one in found)
        status = await client.call_tool("status", {})
        assert status.structured_content == {"schema": 1, "sessions": [], "ended": [], "of_this_server": {}}
        for name, told in (
            ("services", "There is no kubeconfig"),
            ("logs", "There is no log of a session in the background. (exit code 62)"),
            ("requests", "You have no intercept on this laptop. ktpy exchange, mesh, preview or tap begins one."),
            ("exchange", "exchange"),
        ):
            failed = await client.call_tool(name, {})
            assert failed.is_error
            assert told in failed.content[0].text  # type: ignore[union-attr]


async def test_an_agent_that_may_change_things(tmp_path: Path) -> None:
    async with agent(tmp_path, "--allow-changes", "-n", "shop") as client:
        found = {one.name: one for one in (await client.list_tools()).tools}
        assert sorted(found) == sorted([*READS, *CHANGES])
        assert {name for name, one in found.items() if one.annotations and one.annotations.read_only_hint} == set(READS)
        failed = await client.call_tool("mesh", {"target": "web", "expose": ["three"], "namespace": "shop"})
        assert failed.is_error
        assert "'three' is not LOCAL[:REMOTE]" in failed.content[0].text  # type: ignore[union-attr]
        failed = await client.call_tool("run", {"command": ["true"], "namespace": "pay"})
        assert "This server is for namespace shop only." in failed.content[0].text  # type: ignore[union-attr]


def _message(number: int | None, method: str, **parameters: Any) -> str:
    numbered = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", **numbered, "method": method, "params": parameters}) + "\n"


@pytest.mark.parametrize(
    "end",
    [
        lambda server: server.stdin.close(),
        lambda server: server.send_signal(signal.SIGINT),
        lambda server: server.send_signal(signal.SIGTERM),
        lambda server: server.send_signal(signal.SIGKILL),
    ],
    ids=["its agent is gone", "SIGINT", "SIGTERM", "SIGKILL"],
)
def test_what_its_tools_began_ends_with_the_server(
    tmp_path: Path, end: Callable[["subprocess.Popen[str]"], None]
) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", SERVER, json.dumps([sys.executable, "-c", COMMAND, str(log)])]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with subprocess.Popen(
        command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        capabilities: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}}
        server.stdin.write(_message(1, "initialize", **capabilities, clientInfo={"name": "test", "version": "1"}))
        server.stdin.write(_message(None, "notifications/initialized"))
        server.stdin.write(_message(2, "tools/call", name="forward", arguments={"target": "web"}))
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        assert [answer["id"] for answer in answers] == [1, 2]
        assert answers[1]["result"]["structuredContent"]["status"]["server"] == "https://a"
        assert log.read_text() == "begun None\n"
        end(server)
        server.wait(SOON_S)
    assert eventually(lambda: log.read_text() == "begun None\nundone\n", timeout_s=SOON_S), log.read_text()
