"""Connections that clients keep see with their next request what begins and ends at the gateway."""

import http.client
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.component.agent.gateway_pod import ALL, GatewayPod, header
from tests.kit.tcp_server import tcp_server
from tests.kit.waiting import eventually

if TYPE_CHECKING:
    from tests.kit.h2c import Client

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces, which takes root"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="needs openssh-server"),
    pytest.mark.skipif(not Path("/usr/sbin/haproxy").exists(), reason="needs haproxy"),
]
FOOBAR = {"VERSION": "foobar"}
MESH = header("VERSION", exact="foobar")


class KeptConnection(http.client.HTTPConnection):
    """A connection that is never made anew."""

    auto_open = 0

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=60)
        self.connect()

    def ask(self, **headers: str) -> str:
        self.request("GET", "/", headers=headers)
        return self.getresponse().read().decode()


def test_the_next_request_of_a_connection_is_taken(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), closing(KeptConnection(bind)) as own, closing(KeptConnection(bind)) as others:
        assert (own.ask(**FOOBAR), others.ask()) == ("origin", "origin")
        with pod.laptop("s1", local, {"port": origin, **MESH}) as laptop:
            assert eventually(lambda: laptop.counters(origin)["is_up"])
            assert (own.ask(**FOOBAR), others.ask()) == ("local", "origin")
            assert eventually(lambda: laptop.counters(origin, requests=1)["passed"] == 2)


def test_so_is_that_of_one_over_which_several_have_begun(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    other = header("VERSION", exact="other")
    with pod.serving(), closing(KeptConnection(bind)) as own:
        assert own.ask(**FOOBAR) == "origin"
        with (
            pod.laptop("s1", local, {"port": origin, **other}),
            pod.laptop("s2", local, {"port": origin, **MESH}) as laptop,
        ):
            assert eventually(lambda: laptop.counters(origin)["is_up"])
            assert own.ask(**FOOBAR) == "local"


def test_a_large_body_is_handed_on(pod: GatewayPod, origin: int, local: int) -> None:
    bind = pod.add_port(origin)
    with pod.serving(), closing(KeptConnection(bind)) as own:
        assert own.ask() == "origin"
        with pod.laptop("s1", local, {"port": origin, **ALL}) as laptop:
            assert eventually(lambda: laptop.counters(origin)["is_up"])
            own.request("POST", "/", body=b"x" * (8 << 20))
            assert own.getresponse().read() == str(8 << 20).encode()


def test_a_gateway_that_ends_answers_the_connections_that_it_has(pod: GatewayPod, origin: int, local: int) -> None:
    """Nobody is left then to hand a request on to."""
    bind = pod.add_port(origin)
    with pod.serving(KTPY_DRAIN_S="0.5"), closing(KeptConnection(bind)) as own:
        assert own.ask() == "origin"
        with pod.laptop("s1", local, {"port": origin, **MESH}) as laptop:
            assert eventually(lambda: laptop.counters(origin)["is_up"])
            os.kill(pod.agent_pid, signal.SIGTERM)
            assert eventually(lambda: not listens(bind))
            assert own.ask() == "origin"


def listens(port: int) -> bool:
    """Whether somebody does, as the kernel tells it: a connection would be one more to drain."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


def test_the_next_call_of_a_connection_is_taken(pod: GatewayPod) -> None:
    """The client has not read yet that the connection is to end (GOAWAY)."""
    h2c = pytest.importorskip("tests.kit.h2c", reason="needs the h2 package")
    with tcp_server(h2c.grpc("origin")) as origin, tcp_server(h2c.grpc("local")) as local:
        bind = pod.add_port(origin)
        with pod.serving():
            client = h2c.Client(socket.create_connection(("127.0.0.1", bind), 60), heeds_goaway=False)
            assert called(client) == b"origin"
            with pod.laptop("s1", local, {"port": origin, **MESH}) as laptop:
                assert eventually(lambda: laptop.counters(origin)["is_up"])
                assert called(client) == b"local"
            client.socket.close()


def called(client: "Client") -> bytes:
    stream, call = client.open([("version", "foobar")])
    client.send(stream, b"", end=True)
    while not call.ended:
        client.read()
    return call.body
