"""What a gateway carries between pods and a laptop: real clients, real servers, every protocol, all ports at once."""

import asyncio
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from tests.demo.server import big_body
from tests.e2e.kit import every_port, local_program, redis, workloads
from tests.e2e.kit.every_port import ECHO, GRPC, H2C, HTTP, HTTPS, REDIS
from tests.e2e.kit.shop import Shop, digest_of_body
from tests.e2e.kit.target_service import PROBE_TIMEOUT_S, until_reached
from tests.kit import h2c
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.namespaces import inside_netns, stream_socket
from tests.lab.processes import wait_until
from tests.lab.sessions.intercept import Intercept, intercepting

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "protocols"
SOON_S = 60.0
PATIENCE_S = 120.0
GIGABYTE = 1 << 30
"""asyncssh has new keys after sending so much."""
MUCH = 300_000_000
QUIET_S = 5.0
"""Longer than a laptop may say nothing before its route ends (4 s)."""


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[str]:
    with workloads.namespace(lab, NAMESPACE, *every_port.originals()):
        yield Shop(lab.api, NAMESPACE).service(every_port.NAME).ipv4


@pytest.fixture(scope="module")
def pod(lab: Lab, host: str) -> Path:
    """The network namespace of a client's pod."""
    return workloads.netns(lab, NAMESPACE)


@pytest.fixture(scope="module")
def exchange(lab: Lab, host: str, pod: Path) -> Iterator[Intercept]:
    """Five ports of the service are the laptop's."""
    with (
        every_port.served_locally(lab),
        intercepting(lab, "exchange", every_port.NAME, *every_port.EXPOSED, namespace=NAMESPACE) as exchange,
    ):
        wait_until(lambda: exposed(exchange) == {HTTP, GRPC, H2C, HTTPS}, SOON_S, "all but the database")
        until_reached(lambda: get(pod, host).split()[0])
        yield exchange
        exchange.leave()
    assert "original" in get(pod, host)


def exposed(exchange: Intercept) -> set[int]:
    """The ports that lead to the laptop."""
    return {port["port"] for told in exchange.events("routed")[-1:] for port in told["ports"] if port["is_up"]}


def get(pod: Path, host: str) -> str:
    with closing(connected(pod, host, PROBE_TIMEOUT_S)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()


def connected(pod: Path, host: str, timeout_s: float = PATIENCE_S) -> http.client.HTTPConnection:
    """One connection, which is not opened again behind the test's back."""
    connection = http.client.HTTPConnection(host)
    connection.sock = stream_socket(pod, (host, HTTP), timeout_s)
    connection.auto_open = False
    return connection


# --- HTTP/1.1


@pytest.fixture
def web(exchange: Intercept, pod: Path, host: str) -> Iterator[http.client.HTTPConnection]:
    with closing(connected(pod, host)) as connection:
        yield connection


def test_a_connection_is_kept_all_the_way(web: http.client.HTTPConnection) -> None:
    answers = set()
    for _ in range(50):
        web.request("GET", "/")
        answers.add(web.getresponse().read())
    assert len(answers) == 1  # of one connection, as the laptop's program sees it


def test_chunked_both_ways(web: http.client.HTTPConnection) -> None:
    chunks = [b"a", b"bc" * 40_000, b"d"]
    web.request("POST", "/turn", body=iter(chunks), encode_chunked=True)
    response = web.getresponse()
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert response.read() == b"".join(chunks).upper()


def test_a_chunk_is_answered_before_the_next_one_is_sent(web: http.client.HTTPConnection) -> None:
    web.putrequest("POST", "/turn")
    web.putheader("Transfer-Encoding", "chunked")
    web.endheaders()
    web.send(b"3\r\none\r\n")
    response = web.getresponse()
    assert response.read1(100) == b"ONE"
    web.send(b"3\r\ntwo\r\n0\r\n\r\n")
    assert response.read() == b"TWO"


def test_a_gigabyte_to_the_pod(web: http.client.HTTPConnection) -> None:
    began_s, digest = time.monotonic(), hashlib.sha256()
    web.request("GET", f"/big?bytes={GIGABYTE}")
    response = web.getresponse()
    while data := response.read(1 << 20):
        digest.update(data)
    print(f"1 GB to the pod: {time.monotonic() - began_s:.1f} s")
    assert digest.hexdigest() == digest_of_body(GIGABYTE)


def test_much_to_the_laptop(web: http.client.HTTPConnection) -> None:
    """The pod's sshd would have new keys after 64 GB only (RFC 5647, with AES-GCM); the laptop's end has them above."""
    began_s = time.monotonic()
    web.request("POST", "/upload", body=big_body(MUCH), headers={"Content-Length": str(MUCH)})
    assert json.loads(web.getresponse().read()) == {"bytes": MUCH, "sha256": digest_of_body(MUCH)}
    print(f"{MUCH} bytes to the laptop: {time.monotonic() - began_s:.1f} s")


def publish(pod: Path, host: str, text: str) -> None:
    with closing(connected(pod, host)) as publisher:
        publisher.request("POST", "/events", body=text)
        assert publisher.getresponse().status == 204


def test_server_sent_events_come_one_by_one_after_any_silence(
    web: http.client.HTTPConnection, pod: Path, host: str
) -> None:
    web.request("GET", "/events")
    events = web.getresponse()
    assert events.getheader("Content-Type") == "text/event-stream"
    assert events.readline() + events.readline() == b"data: welcome\n\n"
    for text, silence_s in (("one", 0.0), ("two", QUIET_S), ("three", 0.0)):
        time.sleep(silence_s)
        publish(pod, host, text)
        assert events.readline() + events.readline() == f"data: {text}\n\n".encode()


def test_websocket(exchange: Intercept, pod: Path, host: str) -> None:
    """Text, 8 MB in one message, a ping, silence, and the server's own reason for its end."""

    async def talk() -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            url = f"http://{host}/chat"
            async with session.ws_connect(url, protocols=("chat.v2",), max_msg_size=1 << 24) as chat:
                assert chat.protocol == "chat.v2"
                await chat.send_str("h\u00e9llo")
                assert await chat.receive_str() == "h\u00e9llo"
                large = bytes(range(256)) * (8 << 12)
                await chat.send_bytes(large)
                assert await chat.receive_bytes() == large
                await chat.ping(b"there?")
                await asyncio.sleep(QUIET_S)
                await chat.send_str("bye")
                last = await chat.receive()
                assert (last.type, last.data) == (aiohttp.WSMsgType.CLOSE, local_program.BYE_CODE)
                assert last.extra == local_program.BYE_REASON

    with inside_netns(pod):
        asyncio.run(asyncio.wait_for(talk(), PATIENCE_S))


# --- HTTP/2


def test_h2c_with_prior_knowledge(exchange: Intercept, pod: Path, host: str) -> None:
    client = h2c.Client(stream_socket(pod, (host, H2C), SOON_S))
    with closing(client.socket):
        stream, call = client.open([])
        client.send(stream, b" ping")
        while call.body != b"local ping":  # before the client has ended its side
            client.read()
        client.send(stream, b"", end=True)
        while not call.ended:
            client.read()
        assert (call.headers[":status"], call.trailers) == ("200", {"grpc-status": "0"})


@pytest.fixture(scope="module")
def grpc_calls(exchange: Intercept, pod: Path, host: str) -> dict[str, object]:
    """What came of each call of a gRPC client in the pod."""
    program = [sys.executable, "-m", "tests.e2e.kit.grpc_program", "call", f"{host}:{GRPC}"]
    command = ["nsenter", f"--net={pod}", *program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("call", "outcome"),
    {
        "unary": ["hi", "al", "2", "OK"],  # answer, metadata first and last, status
        "large": True,
        "server_streaming": ["0", "1", "2", "3", "4"],
        "client_streaming": "6",
        "both_ways": ["ONE", "TWO", "THREE"],
        "refused": ["NOT_FOUND", "no such customer: \u00e4ndr\u00e9", True],
        "given_up": ["DEADLINE_EXCEEDED", "yes"],
    }.items(),
)
def test_grpc(grpc_calls: dict[str, object], call: str, outcome: object) -> None:
    assert grpc_calls[call] == outcome


# --- plain TCP, and UDP


@pytest.fixture
def database(lab: Lab, exchange: Intercept, pod: Path, host: str) -> Iterator[redis.Client]:
    with redis.serving(lab, every_port.LOCAL_REDIS):
        client = redis.Client(pod, host, REDIS)
        wait_until(client.is_answered, SOON_S, "the database to be exposed")
        yield client


def test_a_database(database: redis.Client) -> None:
    large = os.urandom(8 << 20).hex()
    assert database.ask("-x", "SET", "large", stdin=large.encode()) == "OK"
    assert database.ask("GET", "large") == large
    many = "".join(f"SET key{number} {number}\n" for number in range(10_000))
    assert "errors: 0, replies: 10000" in database.ask("--pipe", stdin=many.encode())
    assert database.ask("GET", "key9999") == "9999"
    assert "requests per second" in database.benchmark("-n", "2000", "-c", "20", "-t", "get")


def test_a_database_that_answers_late(database: redis.Client) -> None:
    waiting = subprocess.Popen(database.command("BLPOP", "queue", "30"), stdout=subprocess.PIPE, text=True)
    wait_until(lambda: "blocked_clients:1" in database.ask("INFO", "clients"), SOON_S, "somebody to wait")
    database.ask("RPUSH", "queue", "at last")
    assert waiting.communicate(timeout=SOON_S)[0].split("\n")[:2] == ["queue", "at last"]


def test_the_original_pods_have_a_port_whose_local_one_is_closed(exchange: Intercept, pod: Path, host: str) -> None:
    """Nobody but HTTP can send again what is lost in the moment in which the local port closes."""

    def count() -> str:
        """What the original pods answer when the client ends its half."""
        with stream_socket(pod, (host, REDIS), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(100).decode()

    until_reached(lambda: count()[:2], "6 ")


def test_tls_passes_through_a_privileged_port_unseen(exchange: Intercept, lab: Lab, pod: Path, host: str) -> None:
    """The certificate, and what was negotiated, are those of the laptop's server."""
    context = ssl.create_default_context(cafile=str(lab.layout.pki_dir / "ca.crt"))
    context.set_alpn_protocols(["shop/2", every_port.ALPN])
    plain = stream_socket(pod, (host, HTTPS), SOON_S)
    with context.wrap_socket(plain, server_hostname=every_port.SERVER_NAME) as connection:
        assert connection.selected_alpn_protocol() == every_port.ALPN
        connection.sendall(b"hello")
        assert connection.recv(100) == b"HELLO"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_not_exposed_keeps_reaching_the_original_pods(
    exchange: Intercept, pod: Path, host: str, kind: socket.SocketKind
) -> None:
    """Port 7, which is TCP and UDP."""
    with inside_netns(pod):
        connection = socket.socket(socket.AF_INET, kind)
    with connection:
        connection.settimeout(SOON_S)
        connection.connect((host, ECHO))
        connection.send(b"hello")
        assert connection.recv(100) == b"hello"
