"""What the supervisor and the process that relays UDP say to each other; no process is started."""

import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ktpy_agent import udp_child
from ktpy_agent.counters import Count
from ktpy_agent.routes import Route
from ktpy_agent.udp_child import UdpChild, UdpReport, UdpRoute, parse_routes

from ktpy.wire.gateway import Port

DNS = Port(53, "dns", 53, "UDP", http=False)
UDP = Route(1, "s1", "amy", DNS, None, fails_when_down=False, token="a1")
TCP = UDP._replace(serial=2, port=DNS._replace(protocol="TCP"))
SOCKET = Path("/run/ktpy/routes/s1.sock")


class Child:
    """Stands in for the process, and keeps its end of each socket."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def spawn(self, command: list[str], *, stdin: int) -> int:
        assert command[-1] == "udp"
        end = socket.socket(fileno=os.dup(stdin))
        end.setblocking(False)
        self.ends.append(end)
        return 4711

    def told(self) -> dict[int, UdpRoute] | None:
        try:
            return parse_routes(self.ends[-1].recv(65536))
        except BlockingIOError:
            return None


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    child = Child()
    monkeypatch.setattr(udp_child, "spawn", child.spawn)
    yield child
    for end in child.ends:
        end.close()


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def test_the_process_hears_who_has_which_udp_port_when_that_is_news(
    child: Child, selector: selectors.BaseSelector
) -> None:
    udp = UdpChild(selector, lambda _: None)
    udp.lead([UDP], lambda _: SOCKET)  # there is no process yet
    assert udp.start() == 4711
    for _ in range(2):
        udp.lead([TCP, UDP], lambda _: SOCKET)
    assert child.told() == {53: UdpRoute("route1", str(SOCKET), fails_when_down=False)}
    assert child.told() is None
    udp.lead([UDP], lambda _: None)
    assert child.told() == {53: UdpRoute("route1", None, fails_when_down=False)}
    udp.start()
    udp.lead([UDP], lambda _: None)
    assert child.told() == {53: UdpRoute("route1", None, fails_when_down=False)}, "the next process knows nothing"


def test_reports_come_until_the_process_ends(child: Child, selector: selectors.BaseSelector) -> None:
    reports: list[UdpReport] = []
    UdpChild(selector, reports.append).start()
    report = UdpReport({"route1": Count(2, 1)}, frozenset({"route1"}))
    child.ends[0].send(report.encoded())
    for _ in range(2):
        [(key, _)] = selector.select(5.0)
        key.data()
        child.ends[0].close()
    assert reports == [report]
    assert not selector.get_map()
