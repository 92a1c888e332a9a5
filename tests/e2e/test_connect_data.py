"""Bytes arrive as they were sent: megabytes each way, hundreds of flows at once, and every way a flow can behave."""

import asyncio
import hashlib
import json
import select
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.demo.server import big_body
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop, digest_of_body
from tests.e2e.kit.workloads import shell_server
from tests.lab import Lab
from tests.lab.namespaces import inside_netns
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import ConnectSession

MUCH = 300_000_000
"""SSH has new keys after a gigabyte: a test of exchanges sends that much."""
TRANSFER_TIMEOUT_S, SOON_S = 240.0, 60.0
FLOWS = 200
FLOW_BYTES = 64 << 10
ECHO_PORT, DIGEST_PORT, GREETER_PORT = 7, 8, 9000
SILENCE_S = 13.0
"""Longer than every interval at which somebody could take a flow for dead: SSH gives a silent link up after 9 s, beats
go every 5 s, an accepted flow must be claimed within 10 s."""

FAMILIES = ["ipv4", "ipv6"]


@pytest.fixture(scope="module")
def greeter(lab: Lab, shop: Shop) -> Iterator[None]:
    """A pod that speaks first, and then listens."""
    with shell_server(lab, NAMESPACE, "greeter", GREETER_PORT, "echo 220 greetings; cat"):
        yield


def upload(lab: Lab, url: str, size: int) -> dict[str, Any]:
    """Send `big_body` by curl, as it is made; returns what the server counted."""
    command = lab.command(["curl", "-sS", "-T", "-", url], user="dev")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin is not None
        for block in big_body(size):
            curl.stdin.write(block)
        output, _ = curl.communicate(timeout=TRANSFER_TIMEOUT_S)
    assert curl.returncode == 0
    return dict(json.loads(output))


# --- much


def test_much_down(connected: ConnectSession, laptop: Laptop) -> None:
    url = f"http://web/big?bytes={MUCH}"
    output = laptop.output(
        "bash", "-o", "pipefail", "-c", f"curl -sS '{url}' | sha256sum", timeout_s=TRANSFER_TIMEOUT_S
    )
    assert output.split()[0] == digest_of_body(MUCH)


def test_much_up(connected: ConnectSession, lab: Lab) -> None:
    got = upload(lab, "http://web/upload", MUCH)
    assert got == {"bytes": MUCH, "sha256": digest_of_body(MUCH)}


def test_data_stays_in_the_kernel(connected: ConnectSession, laptop: Laptop) -> None:
    """The helper's program turns it round; only first and last packets come to ktpy."""
    before = connected.status()["counters"]
    laptop.output("curl", "-sS", "-o", "/dev/null", f"http://web/big?bytes={MUCH // 10}")
    after = connected.status()["counters"]
    assert after["flows"]["bypassing"] > before["flows"]["bypassing"]
    assert after["packets"]["read_bytes"] - before["packets"]["read_bytes"] < MUCH // 100


def test_both_ways_over_ipv6(connected: ConnectSession, lab: Lab, laptop: Laptop, shop: Shop) -> None:
    size = MUCH // 3
    url = f"http://[{shop.service('web').ipv6}]"
    output = laptop.output("bash", "-o", "pipefail", "-c", f"curl -sSg '{url}/big?bytes={size}' | sha256sum")
    assert output.split()[0] == digest_of_body(size)
    assert upload(lab, f"{url}/upload", size)["sha256"] == digest_of_body(size)


# --- many


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def open_all(addresses: Sequence[str]) -> list[Stream]:
    async with asyncio.timeout(SOON_S):
        return await asyncio.gather(*(asyncio.open_connection(address, ECHO_PORT) for address in addresses))


async def echo_all(streams: Sequence[Stream]) -> list[bool]:
    """Whether each flow got its own bytes back, and only those."""

    async def echoed(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        sent = hashlib.sha256(str(number).encode()).digest() * (FLOW_BYTES // 32)
        writer.write(sent)
        writer.write_eof()
        received = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        return received == sent

    async with asyncio.timeout(TRANSFER_TIMEOUT_S):
        return await asyncio.gather(*(echoed(number, *stream) for number, stream in enumerate(streams)))


def test_two_hundred_flows_at_once(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    echo = shop.service("echo")
    wait_until(lambda: connected.status()["open_flows"] == 0, SOON_S, "flows of other tests to be forgotten")
    with asyncio.Runner() as runner:
        with inside_netns(laptop.netns):
            streams = runner.run(open_all([echo.ipv4, echo.ipv6] * (FLOWS // 2)))
        assert connected.status()["open_flows"] == FLOWS
        assert runner.run(echo_all(streams)) == [True] * FLOWS
    wait_until(lambda: connected.status()["open_flows"] == 0, SOON_S, "all flows to be forgotten")


# --- each in its own way


@pytest.mark.parametrize("family", FAMILIES)
def test_half_close(connected: ConnectSession, laptop: Laptop, shop: Shop, family: str) -> None:
    """The answer comes after the client has said all it has to say."""
    address = getattr(shop.service("echo"), family)
    said = "all there is to say"
    answer = laptop.output("nc", "-N", "-w", "30", address, str(DIGEST_PORT), stdin=said)
    assert answer == f"{len(said)} {hashlib.sha256(said.encode()).hexdigest()}\n"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_server_speaks_first(
    connected: ConnectSession, greeter: None, laptop: Laptop, shop: Shop, family: str
) -> None:
    address = getattr(shop.pod("greeter"), family)
    with laptop.connection(address, GREETER_PORT) as connection, connection.makefile("rb") as lines:
        assert lines.readline() == b"220 greetings\n"
        connection.sendall(b"and the same to you\n")
        assert lines.readline() == b"and the same to you\n"


def test_the_server_closes_first(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    with laptop.connection(shop.service("web").ipv4, 80) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as stream:
            assert stream.read().endswith(b"ok\n")


def test_who_does_not_read_holds_nobody_else_up(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    size = MUCH // 3
    with laptop.connection(shop.service("web").ipv4, 80) as lazy, lazy.makefile("rb") as stream:
        lazy.sendall(f"GET /big?bytes={size} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n".encode())
        while stream.readline() != b"\r\n":
            pass
        url = f"http://web/big?bytes={size}"
        output = laptop.output("bash", "-o", "pipefail", "-c", f"curl -sS '{url}' | sha256sum")
        assert output.split()[0] == hashlib.file_digest(stream, "sha256").hexdigest()


def test_a_reset_of_the_client_reaches_the_server(
    connected: ConnectSession, greeter: None, lab: Lab, laptop: Laptop, shop: Shop
) -> None:
    def served() -> int:
        sockets = lab.kubectl("-n", NAMESPACE, "exec", "greeter", "--", "ss", "-Htn", "state", "established")
        return len([line for line in sockets.splitlines() if f":{GREETER_PORT} " in line])

    with laptop.connection(shop.pod("greeter").ipv4, GREETER_PORT) as connection:
        assert connection.recv(64)
        wait_until(lambda: served() == 1, SOON_S, "no other test to be served")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: served() == 0, SOON_S, "the server to hear of it")


def test_an_idle_flow_lives(connected: ConnectSession, laptop: Laptop, shop: Shop) -> None:
    with laptop.connection(shop.service("echo").ipv4, ECHO_PORT) as idle:
        idle.sendall(b"before")
        assert idle.recv(64) == b"before"
        readable, _, _ = select.select([idle], [], [], SILENCE_S)
        assert not readable, "the flow ended, or somebody spoke"
        idle.sendall(b"after")
        assert idle.recv(64) == b"after"
        idle.shutdown(socket.SHUT_WR)
        assert idle.recv(64) == b""


def test_packets_are_captured_with_the_names_of_the_cluster(
    connected: ConnectSession, lab: Lab, laptop: Laptop, shop: Shop
) -> None:
    """Without root, by a filter of names; what is written opens in Wireshark's reader."""
    file = "/tmp/captured.pcapng"
    command = ["ktpy", "capture", "-w", file, "-c", "4", "tcp", "port", "80", "and", "host", "web"]
    with subprocess.Popen(lab.command(command, user="dev"), stderr=subprocess.PIPE, text=True) as capture:
        wait_until(
            lambda: bool(laptop.output("curl", "-s", "http://web/")) and capture.poll() is not None, SOON_S, "packets"
        )
        assert capture.stderr is not None
        assert (capture.returncode, capture.stderr.read()) == (0, "4 packets.\n")
    shown = laptop.output("tshark", "-N", "n", "-r", file).splitlines()
    laptop.output("rm", file)
    assert len(shown) == 4
    assert all(f"web.{NAMESPACE}.svc.cluster.local" in line for line in shown)
