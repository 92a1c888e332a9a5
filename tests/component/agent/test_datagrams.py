"""The link for datagrams to the real agent behind its real sshd; the pod's network is this machine's loopback."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from ktpy.link.connection import AgentServer
from ktpy.link.datagrams import DatagramLink
from ktpy.link.key import make_key
from ktpy.link.uplink import AgentPod
from ktpy.wire.datagram import BEAT, DATAGRAM, FAILED, Failure, Frame, beat, mapped
from tests.component.agent.pod import Pod
from tests.kit.ports import free_port
from tests.kit.waiting import until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
]
SOFT_LIMIT = 1024
"""Open files that many containers are given at first."""
LOOPBACK = mapped(ip_address("127.0.0.1").packed)


class Laptop:
    def __init__(self, link: DatagramLink) -> None:
        self.link = link
        self.received: list[Frame] = []
        self.beats = 0

    def take(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            if frame.kind == BEAT:
                self.beats += 1
            else:
                self.received.append(frame)

    def send(self, port: int, payload: bytes, flow: int = 1) -> None:
        assert self.link.send(Frame(DATAGRAM, flow, port, LOOPBACK, payload).encoded())

    async def next_frame(self) -> Frame:
        await until(lambda: bool(self.received))
        return self.received.pop(0)


@pytest.fixture
def directory() -> Iterator[Path]:
    """pytest's own temporary directories are closed to other users, and the pod's user is another."""
    path = Path(tempfile.mkdtemp(prefix="ktpy-agent-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pod(directory: Path) -> Pod:
    return Pod(directory)


@pytest.fixture
async def laptop(pod: Pod) -> AsyncIterator[Laptop]:
    key = make_key()
    pod.annotate({"s1": key.public_line})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, SOFT_LIMIT), hard))
    with pod.running():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        pod.wait_until_listening()

        async def find_pod() -> AgentPod:
            connector: Any = asyncio.get_running_loop()
            return AgentPod("pod", connector, nobody_can_tell, "", AgentServer("127.0.0.1", pod.port))

        made = Laptop(DatagramLink(find_pod, key))
        running = asyncio.create_task(made.link.run(made.take))
        yield made
        running.cancel()
        await asyncio.wait({running})


async def nobody_can_tell() -> None:
    return None


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


async def echo_once(laptop: Laptop, server: socket.socket, payload: bytes) -> None:
    loop = asyncio.get_running_loop()
    laptop.send(server.getsockname()[1], payload)
    data, program = await loop.sock_recvfrom(server, 65535)
    await loop.sock_sendto(server, data, program)
    frame = await laptop.next_frame()
    assert (frame.kind, frame.flow, frame.payload) == (DATAGRAM, 1, payload)


@pytest.mark.parametrize("size", [0, 1200, 65507])
async def test_to_and_fro(laptop: Laptop, server: socket.socket, size: int) -> None:
    for _ in range(3):
        await echo_once(laptop, server, bytes(size))


async def test_a_refusal(laptop: Laptop) -> None:
    port = free_port()
    laptop.send(port, b"anybody?")
    assert await laptop.next_frame() == Frame(FAILED, 1, port, LOOPBACK, Failure(3, 3, LOOPBACK).encoded())


def open_files(pid: int) -> list[str]:
    """The limits of a process, soft and hard."""
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.split()[3:5] for line in limits if line.startswith("Max open files"))


async def test_as_many_flows_as_the_container_may_have_files(laptop: Laptop, pod: Pod) -> None:
    await until(lambda: laptop.link._connection is not None)
    [relay] = pod.processes("ktpy-agent session")
    soft, hard = open_files(relay)
    assert soft == hard
    assert hard == "unlimited" or int(hard) > SOFT_LIMIT


async def test_beats_are_answered(laptop: Laptop) -> None:
    laptop.link.send(beat())
    await until(lambda: laptop.beats >= 2)  # one is sent by itself


async def test_a_killed_relay_is_replaced(laptop: Laptop, server: socket.socket, pod: Pod) -> None:
    await echo_once(laptop, server, b"before")
    [relay] = pod.processes("ktpy-agent session")
    os.kill(relay, signal.SIGKILL)
    await until(lambda: not laptop.link.is_up)
    await until(lambda: laptop.link.is_up)
    await echo_once(laptop, server, b"after")
