"""`ktpy mcp` with a coding agent's client at its other end: what the agent begins ends when it goes."""

import asyncio
import json
import os

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from tests.e2e.kit.target_service import EXPOSED, LOCAL, getter, lasting_objects, until_only_reached
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

SECRET = {"Authorization": "Bearer opensesame"}
WATCHED_S = 4.0


async def test_an_exchange_is_undone_when_its_agent_goes(lab: Lab, web: str) -> None:
    program, *words = lab.command(["ktpy", "mcp", "--namespace", "shop", "--allow-changes"], user="dev")
    server = StdioServerParameters(command=program, args=words, env=dict(os.environ))

    def serve_secrets() -> str:
        return ask(lab.layout.node_netns_path, web, SECRET)[1]

    with serving(lab, LOCAL):
        async with Client(server) as agent:
            begun = await agent.call_tool("exchange", {"target": "web", "expose": [EXPOSED[1]]})
            assert not begun.is_error, begun.content
            await asyncio.to_thread(until_only_reached, getter(lab, web), "local")
            ran = await agent.call_tool("run", {"command": ["curl", "-sS", "http://web/"]})
            assert ran.structured_content == {"exit_code": 0, "stdout": "local\n", "stderr": ""}
            watched = asyncio.create_task(agent.call_tool("requests", {"target": "web", "seconds": WATCHED_S}))
            while not watched.done():
                assert await asyncio.to_thread(serve_secrets) == "local\n"
            seen = json.dumps((await watched).structured_content)
            assert '["Authorization", "***"]' in seen
            assert "opensesame" not in seen
        wait_until(lambda: lasting_objects(lab) == [], SOON_S, "the service to be given back")
