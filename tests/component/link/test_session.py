"""The agent's session on a real OpenSSH server: its first line, beats, and its end."""

import asyncio

import pytest

from ktpy.errors import LinkLost, PodFailed
from tests.component.link.shadow import open_connection
from tests.component.link.sshd import Sshd
from tests.kit.waiting import until


async def test_beats(sshd: Sshd) -> None:
    connection = await open_connection(sshd, beat_interval_s=0.01)
    beats = sshd.directory / "beats"
    await until(lambda: beats.exists() and beats.read_bytes().startswith(b"\n\n\n"), "three beats")
    connection.close()
    assert await connection.wait_closed() is None
    await until(lambda: beats.read_bytes().endswith(b"EOF"), "the agent hears that we left")


IMPOSTORS = {
    "no JSON": ("print('Welcome to Debian')", PodFailed, "not ktpy's agent"),
    "another version": ("print('{\"version\": 3}')", PodFailed, "it speaks version 3"),
    "a field missing": ("print('{\"version\": 1}')", PodFailed, "lacks 'resolv_conf'"),
    "no object": ("print('[1]')", PodFailed, "not ktpy's agent"),
    "not UTF-8": ("import os; os.write(1, b'\\xff\\n')", PodFailed, "not ktpy's agent"),
    "no line": ("print('x' * 200_000, end='')", PodFailed, "not ktpy's agent"),
    "complains and goes": ("raise SystemExit('no room')", PodFailed, "ended the session: no room"),
    "silent": ("import sys; sys.stdin.read()", LinkLost, r"did not say hello within 0\.5 s"),
}


@pytest.mark.parametrize("name", IMPOSTORS)
async def test_not_the_agent(sshd: Sshd, name: str) -> None:
    agent, error, message = IMPOSTORS[name]
    sshd.install(agent)
    with pytest.raises(error, match=message):
        await open_connection(sshd, timeout_s=0.5 if name == "silent" else 10)


async def test_agent_ends_the_session(sshd: Sshd) -> None:
    connection = await open_connection(sshd, beat_interval_s=0.01)
    (sshd.directory / "quit").touch()
    async with asyncio.timeout(60):
        reason = await connection.wait_closed()
    assert str(reason) == "The agent in the pod ended the session: told to quit."
