"""The process that sends copies, in this one: HAProxy's lines in, copies out."""

import selectors
import socket
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from ktpy_agent import tap_relay
from ktpy_agent.control import listen
from ktpy_agent.counters import Count
from ktpy_agent.relay_child import RelayReport
from ktpy_agent.tap_child import TapRoute, encode_routes
from ktpy_agent.tap_relay import TapRelay


class Surroundings:
    """The supervisor, HAProxy and a laptop of a relay."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector) -> None:
        self.lines, self.laptop = listen(folder / "taps.sock"), listen(folder / "laptop.sock")
        self.supervisor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor.setblocking(False)
        self.haproxy = socket.socket(socket.AF_UNIX)
        self.haproxy.connect(str(folder / "taps.sock"))
        self.route = TapRoute("route1", "s1", str(folder / "laptop.sock"))
        self.relay = TapRelay(self.lines, theirs, selector)
        self.open = [self.lines, self.laptop, self.supervisor, theirs, self.haproxy]
        self.lead(self.route)

    def lead(self, *routes: TapRoute) -> None:
        self.supervisor.send(encode_routes(routes))
        self.turn()

    def turn(self) -> None:
        for _ in range(4):
            self.relay.turn(0)

    def log(self, number: int = 1, *, head: bytes = b"") -> None:
        words = (b" route1, route9,", b"GET /", b"host: web\r\n%b\r\n" % head)
        line = b" ".join(map(b64encode, words)) + b" - ."
        self.haproxy.sendall(b"%d %b" % (len(line), line) * number)
        self.turn()

    def accepted(self) -> list[socket.socket]:
        """The copies that have come."""
        copies = []
        while True:
            try:
                copies.append(self.laptop.accept()[0])
            except BlockingIOError:
                self.open += copies
                return copies

    def reports(self) -> RelayReport:
        """All there are, in one."""
        counts, up = Count(0, 0), frozenset[str]()
        while True:
            try:
                report = RelayReport.parse(self.supervisor.recv(65536))
            except BlockingIOError:
                return RelayReport({"route1": counts}, up)
            counts, up = counts.plus(report.counts.get("route1", Count(0, 0))), report.up


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surroundings]:
    monkeypatch.chdir(tmp_path)  # a path in there may be too long for a socket
    monkeypatch.setattr(tap_relay, "REPORT_S", 0.0)
    with selectors.DefaultSelector() as selector:
        around = Surroundings(Path(), selector)
        yield around
        for each in {*around.open, *(key.fileobj for key in selector.get_map().values())}:
            each.close()  # type: ignore[union-attr]


def test_a_copy_is_sent_and_its_answer_thrown_away(around: Surroundings) -> None:
    around.log()
    [copy] = around.accepted()
    assert copy.recv(65536).startswith(b"GET / HTTP/1.1\r\nhost: web\r\nx-ktpy-tap: s1\r\n")
    copy.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    around.turn()
    assert around.reports() == RelayReport({"route1": Count(0, 0)}, frozenset({"route1"})), "it may go on"
    copy.close()
    around.turn()
    assert around.reports().counts == {"route1": Count(1, 0)}
    around.log(head=b"transfer-encoding: chunked\r\n")
    assert around.reports().counts == {"route1": Count(0, 0, skipped=1)}


def test_what_hangs_takes_a_bounded_number_for_a_bounded_time(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap_relay, "WAITING", 3)
    monkeypatch.setattr(tap_relay, "UNDER_WAY", 2)
    around.log(10)
    assert len(around.accepted()) == 2
    assert around.reports().counts == {"route1": Count(0, 0, dropped=5)}
    monkeypatch.setattr(tap_relay, "COPY_S", 0.0)
    for copy, _ in list(around.relay._taps["route1"]._under_way.items()):
        copy.end()  # as when their time is over
    around.turn()
    assert len(around.accepted()) == 3
    around.turn()
    assert around.reports().counts == {"route1": Count(0, 0, dropped=5)}, "two, and the three that waited"
    monkeypatch.setattr(tap_relay, "HELD_BYTES", -1)
    around.log()
    assert around.reports().counts == {"route1": Count(0, 0, dropped=1)}


def test_a_laptop_that_goes_away_and_comes_back(around: Surroundings) -> None:
    around.lead(around.route._replace(socket=None))
    around.log()
    assert around.reports() == RelayReport({"route1": Count(0, 0, dropped=1)}, frozenset())
    around.lead(around.route._replace(socket="nobody.sock"))
    around.log()
    assert around.reports() == RelayReport({"route1": Count(0, 0, dropped=1)}, frozenset({"route1"}))
    around.lead()
    around.log()
    assert around.reports() == RelayReport({"route1": Count(0, 0)}, frozenset())


@pytest.mark.parametrize("bad", [b"", b"HTTP/1.1 200 OK", b"12345678 x", b"x 1234567"])
def test_haproxy_ends_or_says_what_cannot_be_read(around: Surroundings, bad: bytes) -> None:
    assert around.reports().up == {"route1"}
    if bad:
        around.haproxy.sendall(bad)
    around.haproxy.shutdown(socket.SHUT_WR)
    around.turn()
    assert around.reports().up == frozenset()


def test_it_ends_with_the_supervisor(around: Surroundings) -> None:
    around.supervisor.close()
    around.relay.serve()
