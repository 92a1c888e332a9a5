"""An exchange as developers use it, while everybody else uses the service."""

import http.client
import json
import os
import re
import select
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, PROBE_TIMEOUT_S, getter, until_reached
from tests.kit.tcp_server import tcp_server
from tests.lab import Lab
from tests.lab.namespaces import inside_netns
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import Connection, Visitors, ask
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import listener, serving
from tests.lab.sessions.request_log import SOON_S, until_answered, until_asked

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

PAUSE_S = 4.0
"""A program at a breakpoint stands still for this long: more than a time-out of anything."""


def test_an_exchange_takes_all_requests_and_gives_them_back(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL) as server:
        with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
            until_answered(visitors, "local")
            began_s = time.monotonic()
            until_asked(visitors, 200)
            assert visitors.answers(began_s) == {"local"}, f"{visitors.story()}\n{exchange.output}"
            exchange.leave()
        until_answered(visitors, "web")
        assert server.seen[""] > 100


def test_the_local_port_may_come_and_go(lab: Lab, visitors: Visitors) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        assert f"Nothing answers on local port {LOCAL} yet" in exchange.notices()
        until_answered(visitors, "web")
        for _ in range(3):
            with serving(lab, LOCAL):
                until_answered(visitors, "local")
            until_answered(visitors, "web")
        exchange.wait_for(f"Local port {LOCAL} does not answer any more: requests for port 80 go to the original pods.")
        with serving(lab, LOCAL):
            exchange.wait_for("went to the original pods meanwhile")
        exchange.leave()


def test_requests_wait_for_a_program_that_restarts_if_that_is_wanted(lab: Lab, visitors: Visitors) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED, "--when-local-down", "wait") as exchange:
        with serving(lab, LOCAL):
            until_answered(visitors, "local")
            began_s = time.monotonic()
        exchange.wait_for("requests for port 80 wait for it, 30 s at most")
        exchange.wait_for('"waiting": 2')
        with serving(lab, LOCAL):
            exchange.wait_for("connections waited for it")
            until_asked(visitors, 100)
            assert visitors.answers(began_s) == {"local"}
            exchange.leave()


def test_a_local_port_that_accepts_and_closes_costs_nobody_a_request(lab: Lab, visitors: Visitors) -> None:
    """As the port of a container, or of `ssh -L`, does whose application is down."""
    began_s = time.monotonic()
    with intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        with tcp_server(lambda connection: connection.close(), listener(lab, LOCAL)):
            exchange.wait_for(f"Local port {LOCAL} accepts connections and closes them at once")
            until_asked(visitors, 100)
            assert visitors.answers(began_s) == {"web"}
        with serving(lab, LOCAL):
            until_answered(visitors, "local")
        exchange.leave()


def test_a_paused_local_program_keeps_its_requests(lab: Lab, web: str) -> None:
    """As at a breakpoint: it listens, but does not accept; its queue is shorter than the requests are many."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlocal")

    with inside_netns(lab.layout.laptop_netns_path):
        paused = socket.create_server(("127.0.0.1", LOCAL), backlog=2)
    with paused, intercepting(lab, "exchange", "web", *EXPOSED), ThreadPoolExecutor(12) as people:
        with tcp_server(answer, paused.dup()):
            until_reached(getter(lab, web))
        asked = [people.submit(ask, lab.layout.node_netns_path, web, timeout_s=60) for _ in range(12)]
        assert not wait(asked, timeout=PAUSE_S).done
        with tcp_server(answer, paused):
            assert {one.result()[1] for one in asked} == {"local"}


def test_an_early_answer_to_a_large_upload_arrives(lab: Lab, web: str) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def upload() -> bytes:
        with inside_netns(lab.layout.node_netns_path):
            client = socket.create_connection((web, 80), timeout=30)
        with client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 50000000\r\n\r\n")
            client.setblocking(False)
            while not select.select([client], [client], [], 30)[0]:
                with suppress(ConnectionError):
                    client.send(bytes(65536))
            return client.recv(12)

    with intercepting(lab, "exchange", "web", *EXPOSED), tcp_server(refuse, listener(lab, LOCAL)):
        netns = lab.layout.node_netns_path
        until_reached(lambda: str(ask(netns, web, timeout_s=PROBE_TIMEOUT_S)[0]), "413")
        with ThreadPoolExecutor(6) as people:
            answers = [one.result() for one in [people.submit(upload) for _ in range(12)]]
        assert answers == [b"HTTP/1.1 413"] * 12


HEADS = {
    "GET /length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
    "GET /chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nF4240\r\n",
}


def test_an_answer_that_a_reset_cuts_off_does_not_look_whole(lab: Lab, web: str) -> None:
    def reset(connection: socket.socket) -> None:
        request = connection.recv(65536).decode()
        if head := HEADS.get(" ".join(request.split()[:2])):
            connection.sendall(head + bytes(400_000))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def request(method: str, path: str) -> http.client.HTTPResponse:
        connection = Connection(lab.layout.node_netns_path, web, timeout_s=PROBE_TIMEOUT_S)
        connection.request(method, path)
        return connection.getresponse()

    with intercepting(lab, "exchange", "web", *EXPOSED), tcp_server(reset, listener(lab, LOCAL)):
        until_reached(lambda: str(request("POST", "/").status), "502")
        for started in HEADS:
            with pytest.raises(http.client.IncompleteRead):
                request(*started.split()).read()


def test_requests_fail_while_the_local_port_is_down_if_that_is_wanted(lab: Lab, web: str) -> None:
    with intercepting(lab, "exchange", "web", *EXPOSED, "--when-local-down", "fail"):
        netns = lab.layout.node_netns_path
        until_reached(lambda: str(ask(netns, web, timeout_s=PROBE_TIMEOUT_S)[0]), "503")
        assert "dev@laptop" in ask(netns, web)[1]


def test_counted_and_shown(lab: Lab, laptop: Laptop, web: str) -> None:
    get = getter(lab, web)
    with serving(lab, LOCAL), intercepting(lab, "exchange", "deployment/web", *EXPOSED) as exchange:
        until_reached(get)
        assert [get() for _ in range(6)] == ["local"] * 6

        def ports() -> dict[str, Any]:
            [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
            assert (session["kind"], session["target"], session["namespace"]) == ("exchange", "web", NAMESPACE)
            [port] = session["ports"]
            return dict(port)

        wait_until(lambda: ports()["requests"] == 7, SOON_S, "seven requests counted")
        assert ports() == {
            "port": 80,
            "local_port": LOCAL,
            "is_local_up": True,
            "is_up": True,
            "requests": 7,
            "passed": 7,
            "local_host": None,
            "fallbacks": 0,
            "dropped": 0,
            "skipped": 0,
            "shortcuts": 0,
            "local_state": "up",
            "waiting": 0,
            "protocol": "TCP",
        }
        exchange.wait_for('"requests": 7')
        assert re.search(r"port 80 +to local port 3001 +\(up\): 7 requests", laptop.output("ktpy", "status"))
        listed = laptop.output("ktpy", "list", "-n", NAMESPACE)
        assert re.search(r"^web .* dev@laptop: exchange of port 80 since \S+Z$", listed, re.MULTILINE)
        assert "ktpy-origin" not in listed
        told = laptop.output("ktpy", "who", "web", "-A")
        assert re.search(rf"^{NAMESPACE} +web +dev@laptop +\S+Z +exchange of port 80$", told, re.MULTILINE)
        services = json.loads(laptop.output("ktpy", "list", "-n", NAMESPACE, "-o", "json"))["services"]
        [intercept] = next(one for one in services if one["name"] == "web")["intercepts"]
        assert intercept["is_live"]
        assert intercept["owner"] == "dev@laptop"


def test_plain_tcp_and_the_udp_port_beside_it(lab: Lab, shop: Shop) -> None:
    """Port 8 of echo is exchanged; ports 7, TCP and UDP, keep reaching the original pod."""
    host, netns = shop.service("echo").ipv4, lab.layout.node_netns_path
    with serving(lab, LOCAL), intercepting(lab, "exchange", "echo", "--expose", f"{LOCAL}:digest"):
        until_reached(lambda: ask(netns, host, port=8, timeout_s=PROBE_TIMEOUT_S)[1].strip())
        for family in ("tcp", "udp"):
            probe = ["python3", "-c", ECHO, family, host]
            assert lab.node(*probe).strip() == "hello"


ECHO = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as echo:
    echo.settimeout(30)
    echo.connect((sys.argv[2], 7))
    echo.send(b"hello")
    print(echo.recv(100).decode())
"""
