import socket
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Thread

import pytest
from dnslib import RR, DNSRecord

from tests.lab import cluster_dns, namespaces


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "inside_netns", lambda _: nullcontext())


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield server


def asked(server: socket.socket, known: int) -> bool:
    """Ask a server that has addresses for the first names only."""

    def serve() -> None:
        for number in range(min(known + 1, len(cluster_dns.NAMES))):
            packet, client = server.recvfrom(512)
            question = DNSRecord.parse(packet)
            reply = question.reply()
            if number < known:
                reply.add_answer(*RR.fromZone(f"{question.q.qname} 5 A 192.0.2.1"))
            server.sendto(bytes(reply.pack()), client)

    serving = Thread(target=serve)
    serving.start()
    answered = cluster_dns.answers(Path("netns"), *server.getsockname())
    serving.join()
    return answered


@pytest.mark.parametrize(("known", "answered"), [(0, False), (3, False), (4, True)])
def test_every_zone_has_to_answer(server: socket.socket, known: int, answered: bool) -> None:
    assert asked(server, known) is answered


def test_nobody_there(closed_port: int) -> None:
    assert cluster_dns.answers(Path("netns"), "127.0.0.1", closed_port) is False
