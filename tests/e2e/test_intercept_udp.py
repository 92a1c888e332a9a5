"""A DNS server of the laptop's in the place of the cluster's, asked by `dig` in a pod, over UDP and TCP."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import Shop
from tests.e2e.kit.workloads import applied
from tests.lab import Lab
from tests.lab.namespaces import inside_netns
from tests.lab.processes import wait_until
from tests.lab.sessions.intercept import intercepting, ktpys_objects
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE, NAME = "kube-system", "names"
LOCAL, ORIGIN, LOCAL_PORT = "203.0.113.7", "192.0.2.7", 5353
BOTH = ("--expose", f"{LOCAL_PORT}:53/udp", "--expose", f"{LOCAL_PORT}:53/tcp")
KILLED_S = 3.8
"""Until the original pods answer when a laptop was killed. One that says nothing more is given up after 4 s."""


class Resolver(BaseResolver):  # type: ignore[misc]  # it has no types
    """Says the same address for every name."""

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        reply = request.reply()
        reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(LOCAL)))
        return reply


@contextmanager
def name_server(lab: Lab) -> Iterator[None]:
    """The developer's DNS server, over UDP and TCP."""
    with inside_netns(lab.layout.laptop_netns_path):
        options = {"port": LOCAL_PORT, "address": "127.0.0.1", "logger": DNSLogger("-request,-reply")}
        servers = [DNSServer(Resolver(), tcp=tcp, **options) for tcp in (False, True)]
    for server in servers:
        server.start_thread()
    try:
        yield
    finally:
        for server in servers:
            server.server.shutdown()
            server.server.server_close()


class Digger:
    """`dig` in a pod, which asks a server for the same name again and again."""

    def __init__(self, lab: Lab, shop: Shop) -> None:
        [echo] = shop.pods("echo").values()
        self._pod = lab.pod_netns(echo.ipv4)

    def __call__(self, server: str, *options: str) -> str:
        """The address, or nothing."""
        command = ["dig", "+short", "+tries=1", "+time=10", *options, f"@{server}", "x.custom.corp"]
        run = subprocess.run(["nsenter", f"--net={self._pod}", *command], capture_output=True, text=True)
        return run.stdout.strip() if run.returncode == 0 else ""

    @contextmanager
    def keeping(self, server: str) -> Iterator[Callable[[], str]]:
        """A socket that asks the server again and again from one port, as a resolver may that keeps it."""
        with inside_netns(self._pod):
            kept = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with kept:
            kept.settimeout(2.0)
            kept.connect((server, 53))

            def ask() -> str:
                question = DNSRecord.question("x.custom.corp")
                try:
                    kept.send(question.pack())
                    while (reply := DNSRecord.parse(kept.recv(512))).header.id != question.header.id:
                        pass
                except OSError:
                    return ""
                return str(reply.a.rdata)

            yield ask

    def until(self, answer: str, server: str, *options: str) -> None:
        wait_until(
            lambda: self(server, "+time=1", *options) == answer, SOON_S, f"{answer} from {server} {' '.join(options)}"
        )


@pytest.fixture
def dig(lab: Lab, shop: Shop) -> Digger:
    return Digger(lab, shop)


@pytest.fixture
def names(lab: Lab, dig: Digger) -> Iterator[str]:
    """A Service before the cluster's DNS; it is given back as it was."""
    ports = [{"name": f"dns-{kind.lower()}", "port": 53, "protocol": kind} for kind in ("UDP", "TCP")]
    made = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"selector": {"k8s-app": "kube-dns"}, "ports": ports},
    }
    with applied(lab, NAMESPACE, made):
        service = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}")
        address = str(service["spec"]["clusterIP"])
        dig.until(ORIGIN, address)
        yield address
        dig.until(ORIGIN, address)
        wait_until(lambda: ktpys_objects(lab, NAMESPACE) == [], SOON_S, "nothing of ktpy's")


def test_a_dns_server_of_the_laptops(lab: Lab, laptop: Laptop, names: str, dig: Digger) -> None:
    with dig.keeping(names) as ask:
        wait_until(lambda: ask() == ORIGIN, SOON_S, "the kept socket to be answered")
        answered_here_and_there(lab, laptop, names, dig, ask)
        wait_until(lambda: ask() == ORIGIN, SOON_S, "the kept socket to be answered without a gateway")


def answered_here_and_there(lab: Lab, laptop: Laptop, names: str, dig: Digger, ask: Callable[[], str]) -> None:
    with intercepting(lab, "exchange", NAME, *BOTH, namespace=NAMESPACE) as exchange:
        assert "datagrams for port 53/UDP go to the original pods" in exchange.notices()
        assert dig(names) == ORIGIN
        with name_server(lab):
            dig.until(LOCAL, names)
            dig.until(LOCAL, names, "+tcp")
            assert [dig(names) for _ in range(10)] == [LOCAL] * 10
            wait_until(lambda: ask() == LOCAL, SOON_S, "a client's socket of before to be answered here")
            exchange.wait_for(f"Local UDP port {LOCAL_PORT} answers.")
        dig.until(ORIGIN, names)
        dig.until(ORIGIN, names, "+tcp")
        wait_until(lambda: ask() == ORIGIN, SOON_S, "a client's socket of before to be answered there")
        exchange.wait_for(f"Local UDP port {LOCAL_PORT} does not answer any more")
        wait_until(lambda: ports(laptop)[0]["requests"] >= 11, SOON_S, "the requests to be counted")
        assert [(one["port"], one["protocol"]) for one in ports(laptop)] == [(53, "UDP"), (53, "TCP")]
        exchange.leave()


def ports(laptop: Laptop) -> list[dict[str, Any]]:
    """Those of the only session."""
    [session] = json.loads(laptop.output("ktpy", "status", "--output", "json"))["sessions"]
    return list(session["ports"])


def test_the_original_pods_answer_when_the_laptop_was_killed(lab: Lab, laptop: Laptop, names: str, dig: Digger) -> None:
    with name_server(lab), intercepting(lab, "exchange", NAME, *BOTH, namespace=NAMESPACE) as exchange:
        dig.until(LOCAL, names)
        exchange.kill()
        killed_s = time.monotonic()
        dig.until(ORIGIN, names)
        assert time.monotonic() - killed_s < KILLED_S
        dig.until(ORIGIN, names, "+tcp")
        assert laptop.run(["ktpy", "clean", "-n", NAMESPACE]).returncode == 0


def test_a_preview_of_a_dns_server(lab: Lab, dig: Digger) -> None:
    expose = ("--expose", f"{LOCAL_PORT}:53/udp")
    with name_server(lab), intercepting(lab, "preview", "pre-dns", *expose, namespace=NAMESPACE) as preview:
        service = lab.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/pre-dns")
        dig.until(LOCAL, service["spec"]["clusterIP"])
        preview.leave()
    wait_until(lambda: ktpys_objects(lab, NAMESPACE) == [], SOON_S, "nothing of ktpy's")
