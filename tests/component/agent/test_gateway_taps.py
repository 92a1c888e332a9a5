"""Taps of a gateway: the real agent and HAProxy, and a laptop on asyncssh."""

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.component.agent.gateway_pod import GatewayPod, Laptop, Load, get, header
from tests.kit.tcp_server import tcp_server
from tests.kit.waiting import eventually

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]

UNDISTURBED_S = 5.0
"""An original that waits for a copy would take ten seconds, or for ever."""


class Program(ThreadingHTTPServer):
    """A Program notes the requests that it gets."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        program = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                fields = {name.lower(): value for name, value in self.headers.items()}
                program.requests.append((self.command, self.path, fields, body))
                self.send_response(204)
                self.end_headers()

            do_POST = do_GET  # noqa: N815 - the base class calls it so

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.requests]


@pytest.fixture
def program() -> Iterator[Program]:
    with Program() as program:
        thread = threading.Thread(target=program.serve_forever, args=(0.02,))
        thread.start()
        yield program
        program.shutdown()
        thread.join()


@contextmanager
def hung() -> Iterator[int]:
    """A port whose program accepts connections and never answers: the kernel does it for a program that is stopped."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield listener.getsockname()[1]


def tap(percent: int = 100, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    match = (wanted or {}).get("match") or {"headers": [], "path_prefix": None, "baggage": None}
    return {"match": match | {"tap": percent}}


def until(laptop: Laptop, port: int, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first counters for which this holds."""
    while (line := laptop.next_line()) is not None:
        counted: dict[str, Any] = line["counters"][str(port)]
        if holds(counted):
            return counted
    raise AssertionError("the route has ended")


def up(counted: dict[str, Any]) -> bool:
    return bool(counted["is_up"])


def post(
    port: int, body: bytes | Iterator[bytes], path: str = "/", *, in_one_segment: bool = True, **headers: str
) -> str:
    """Else head and body come one after the other, on a busy machine maybe so late that the body is not copied."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, in_one_segment)
    connection.request("POST", path, body, headers)
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, False)
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def test_copies_come_beside_a_mesh_and_bear_a_mark(pod: GatewayPod, origin: int, local: int, program: Program) -> None:
    bind = pod.add_port(origin)
    mesh = {"port": origin, **header("VERSION", exact="foobar")}
    with pod.serving():
        with (
            pod.laptop("s1", local, mesh) as meshing,
            pod.laptop("s2", program.server_port, {"port": origin, **tap()}) as laptop,
            pod.laptop("s3", program.server_port, {"port": origin, **tap(wanted=header("a", exact="1"))}) as other,
        ):
            meshing.counters(origin)
            for each in (laptop, other):
                until(each, origin, up)
            assert get(bind, path="/plain?q=%20") == (200, "origin")
            assert eventually(lambda: get(bind, path="/mesh", headers={"VERSION": "foobar"}).body == "local")
            assert post(bind, b"x" * 32768, "/post", baggage="k=v", connection="close") == "32768"
            assert eventually(lambda: {"/plain?q=%20", "/mesh", "/post"} <= set(program.paths))
            assert get(bind, path="/both", headers={"A": "1"}).body == "origin"
            assert eventually(lambda: program.paths.count("/both") == 2), "each of two taps has a copy"
            copies = {path: (method, fields, body) for method, path, fields, body in program.requests}
            method, fields, body = copies["/post"]
            assert (method, len(body), fields["host"]) == ("POST", 32768, f"127.0.0.1:{bind}")
            assert fields["x-ktpy-tap"] == "s2"
            assert fields["baggage"] == "ktpy-tap=s2", "the last of two lines"
            counted = until(laptop, origin, lambda counted: counted["requests"] >= 4)
            assert (counted["fallbacks"], counted["dropped"], counted["skipped"]) == (0, 0, 0)

            before = len(program.requests)
            for marked in ({"X-Ktpy-Tap": "s2"}, {"baggage": "a=b, ktpy-tap=s2"}, {"Upgrade": "websocket"}):
                assert get(bind, path="/round", headers=marked).body == "origin"
            assert get(bind, path="/grpc", headers={"Content-Type": "application/grpc+proto"}).body == "origin"
            assert get(bind, path="/last").body == "origin"
            assert eventually(lambda: "/last" in program.paths)
            assert len(program.requests) == before + 1, "copies of copies, tunnels and streams are none"
        assert eventually(lambda: not pod.processes("ktpy-agent tap")), "nobody taps"


def test_bodies_that_are_long_or_slow_or_of_unknown_length_are_not_copied(
    pod: GatewayPod, origin: int, program: Program
) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), pod.laptop("s1", program.server_port, {"port": origin, **tap()}) as laptop:
        until(laptop, origin, up)
        assert post(bind, b"x" * 32769) == "32769"
        started_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", bind)) as slow:
            slow.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
            time.sleep(0.3)
            slow.sendall(b"56789")
            assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - started_s < UNDISTURBED_S
        assert post(bind, b"x", expect="100-continue") == "1"
        until(laptop, origin, lambda counted: counted["skipped"] == 3)
        assert program.requests == []
        while not program.requests:
            assert post(bind, b"in two segments", in_one_segment=False) == "15"
            time.sleep(0.1)
        assert program.requests[0][3] == b"in two segments"


def test_http2_is_copied_as_http1(pod: GatewayPod, program: Program) -> None:
    h2c = pytest.importorskip("tests.kit.h2c", reason="needs the h2 package")
    with tcp_server(h2c.grpc("origin")) as origin:
        bind = pod.add_port(origin)
        with pod.serving(), pod.laptop("s1", program.server_port, {"port": origin, **tap()}) as laptop:
            until(laptop, origin, up)
            client = h2c.Client(socket.create_connection(("127.0.0.1", bind), 10))
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def ask(*headers: tuple[str, str]) -> None:
                stream, call = client.open(list(headers))
                client.send(stream, b"ping", end=True)
                while not call.ended:
                    client.read()

            ask()  # nothing tells whether its body is whole
            until(laptop, origin, lambda counted: counted["skipped"] == 1)
            while not program.requests:  # one whose body comes late, as on a busy machine, is skipped
                ask(("content-length", "4"))
                time.sleep(0.1)
            client.socket.close()
            _, path, fields, body = program.requests[0]
            assert (path, fields["host"], body) == ("/s/m", "web", b"ping")


def test_a_connection_from_before_a_tap_is_copied_once(pod: GatewayPod, origin: int, program: Program) -> None:
    """The process that has the connection hands its requests on to the one that knows of the tap."""
    bind = pod.add_port(origin)
    with pod.serving():
        kept = http.client.HTTPConnection("127.0.0.1", bind, timeout=60)

        def ask(path: str) -> None:
            kept.request("GET", path)
            assert kept.getresponse().read() == b"origin"

        ask("/before")
        with pod.laptop("s1", program.server_port, {"port": origin, **tap()}) as first:
            until(first, origin, up)
            with pod.laptop("s2", program.server_port, {"port": origin, **tap()}) as second:
                until(second, origin, up)
                ask("/twice")
                for each in (first, second):
                    assert until(each, origin, lambda counted: counted["requests"] > 0)["requests"] == 1
        assert program.paths == ["/twice", "/twice"]


def test_a_share(pod: GatewayPod, origin: int, program: Program) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), pod.laptop("s1", program.server_port, {"port": origin, **tap(30)}) as laptop:
        until(laptop, origin, up)
        for _ in range(300):
            get(bind)
        assert eventually(lambda: len(program.requests) > 50)
        assert len(program.requests) < 150


@pytest.mark.parametrize("breaks", ["program", "agent", "laptop"])
def test_no_original_waits_for_what_hangs(pod: GatewayPod, origin: int, breaks: str) -> None:
    bind = pod.add_port(origin)
    with hung() as port, pod.serving(), pod.laptop("s1", port, {"port": origin, **tap()}) as laptop:
        until(laptop, origin, up)
        if breaks == "agent":
            [relay] = pod.processes("ktpy-agent tap")
            os.kill(relay, signal.SIGSTOP)
        if breaks == "laptop":
            laptop.freeze()
        with Load(bind) as load:
            load.until("origin", 600)
            if breaks == "program":
                assert until(laptop, origin, lambda counted: counted["dropped"] > 0)["requests"] == 0
        assert load.failures == []
        assert load.slowest_s < UNDISTURBED_S
        if breaks == "agent":
            os.kill(relay, signal.SIGKILL)
            assert eventually(lambda: pod.processes("ktpy-agent tap") not in ([], [relay]))
            until(laptop, origin, up)
