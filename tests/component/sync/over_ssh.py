"""The agent's side behind a real OpenSSH server on loopback, as in a dev container."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncssh

from ktpy.wire.sync.frames import COMMAND
from tests.component.agent.pod import AGENT_IMAGE
from tests.component.link.shadow import HELLO, open_connection
from tests.component.link.sshd import Sshd

AGENT = f"""
import os, sys
asked = os.environ.get("SSH_ORIGINAL_COMMAND", "")
if asked.startswith({COMMAND!r}):
    agent = {str(AGENT_IMAGE / "ktpy-agent")!r}
    os.execv("/usr/bin/python3", ["python3", "-IS", agent, "sync", asked[{len(COMMAND)}:]])
if asked.startswith("cat"):
    os.execv("/bin/sh", ["sh", "-c", asked])
print({json.dumps(json.dumps(HELLO))}, flush=True)
while os.read(0, 100):
    pass
"""


@contextmanager
def sshd(directory: Path) -> Iterator[Sshd]:
    server = Sshd(directory)
    server.install(AGENT)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def channel(server: Sshd, command: str) -> AsyncIterator["asyncssh.SSHClientProcess[bytes]"]:
    """Run a command there on a channel of a connection of its own."""
    connection = await open_connection(server)
    try:
        yield await connection.ssh.create_process(command, encoding=None)
    finally:
        connection.close()
        await asyncio.wait_for(connection.wait_closed(), 60)
