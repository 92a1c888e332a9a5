"""The load generators against the server, over loopback, as they are on laptop and pod."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.loading import ENVIRONMENT, command
from tests.bench.rates import gigabits_per_second
from tests.bench.server import ECHO_PORT, HTTP_PORT, SINK_PORT, SOURCE_PORT
from tests.kit.ports import free_port
from tests.lab.layout import REPOSITORY

TIMEOUT_S = 30
SERVER = """
import asyncio, itertools, sys
from tests.bench import server
server.HTTP_PORT, server.SOURCE_PORT, server.SINK_PORT, server.ECHO_PORT = map(int, sys.argv[1:])
asyncio.run(server.main())
"""


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[int, int]]:
    """The server in a process of its own, on ports that are free: where each of its ports is."""
    wanted = (HTTP_PORT, SOURCE_PORT, SINK_PORT, ECHO_PORT)
    free = dict(zip(wanted, _free_ports(len(wanted)), strict=True))
    process = subprocess.Popen([sys.executable, "-c", SERVER, *map(str, free.values())], cwd=REPOSITORY)
    try:
        _wait_for(free[HTTP_PORT], process)
        yield free
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def _free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            continue
        return
    raise AssertionError("the server does not answer")


def load(program: str, *arguments: object) -> Any:
    done = subprocess.run(
        command(program, *arguments), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("direction", "port"), [("down", SOURCE_PORT), ("up", SINK_PORT)])
def test_streams(ports: dict[int, int], direction: str, port: int) -> None:
    timelines = load("streams", direction, "127.0.0.1", ports[port], 3, 0.5)
    assert len(timelines) == 3
    assert all(timeline == sorted(timeline) and timeline[0][1] == 0 for timeline in timelines)
    assert gigabits_per_second(timelines, ramp_s=0.1, end_s=0.5) > 0.01


@pytest.mark.parametrize("kind", ["new", "kept"])
def test_requests(ports: dict[int, int], kind: str) -> None:
    took_s = load("requests", kind, "127.0.0.1", ports[HTTP_PORT], 10, 25)
    assert len(took_s) == 25
    assert all(0 < each < TIMEOUT_S for each in took_s)


def test_requests_that_break_are_counted(ports: dict[int, int]) -> None:
    assert load("broken", "127.0.0.1", ports[HTTP_PORT], 3) == 0
    assert load("broken", "127.0.0.1", _free_ports(1)[0], 3) == 3


def test_connections(ports: dict[int, int]) -> None:
    assert load("connections", "127.0.0.1", ports[ECHO_PORT], 10, 8, 200) > 1


def test_connections_nobody_takes_are_an_error() -> None:
    [closed] = _free_ports(1)
    done = subprocess.run(
        command("connections", "127.0.0.1", closed, 1, 4, 10), env=ENVIRONMENT, capture_output=True, timeout=TIMEOUT_S
    )
    assert done.returncode != 0
    assert b"ConnectionRefusedError" in done.stderr


def test_idle_flows_are_held_until_sigterm_and_end_in_order(ports: dict[int, int]) -> None:
    flows = command("idle", "127.0.0.1", ports[ECHO_PORT], 50, TIMEOUT_S)
    with subprocess.Popen(flows, env=ENVIRONMENT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"50\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def test_round_trips_of_datagrams(ports: dict[int, int]) -> None:
    took_s = load("datagrams", "round-trips", "127.0.0.1", ports[ECHO_PORT], 10, 25)
    assert len(took_s) == 25
    assert all(0 < each < TIMEOUT_S for each in took_s)


def test_the_rate_of_datagrams(ports: dict[int, int]) -> None:
    assert load("datagrams", "rate", "127.0.0.1", ports[SINK_PORT], 64, 0.5) > 0


def test_width(ports: dict[int, int]) -> None:
    assert load("width", "127.0.0.1", ports[HTTP_PORT], 0.5, 4) > 10


def test_the_lean_program_answers_each_request_with_its_text() -> None:
    [port] = _free_ports(1)
    with subprocess.Popen(command("local", port, "here"), env=ENVIRONMENT) as process:
        try:
            _wait_for(port, process)
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
                connection.sendall(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n")
                connection.sendall(b"\r\n")
                answers = connection.makefile("rb")
                for _ in range(2):
                    assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                    assert [answers.readline() for _ in range(4)][1:] == [b"Content-Length: 5\r\n", b"\r\n", b"here\n"]
        finally:
            process.kill()


def test_a_large_file_is_moved_in_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "synchronized"
    folder.mkdir()
    began_s = time.monotonic()
    moved_s = load("large_file", folder, 2)
    assert began_s < moved_s < time.monotonic()
    assert [path.name for path in folder.iterdir()] == ["large"]
    assert (folder / "large").stat().st_size == 2 << 20
    assert list(tmp_path.iterdir()) == [folder]
