import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ktpy_agent import udp_relay
from ktpy_agent.counters import Count
from ktpy_agent.relay_child import RelayReport
from ktpy_agent.udp_child import UdpRoute, encode_routes
from ktpy_agent.udp_relay import Relay, UdpRelays

from ktpy.wire.datagram import DATAGRAM, FORGET, NOWHERE, Frame, FrameParser, beat, unmapped
from ktpy.wire.gateway import GatewaySpec, Port
from tests.kit.ports import free_port


class Origin:
    """Answers each datagram with it in capitals, and says from which port it came."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.senders: set[int] = set()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            datagram, address = self.socket.recvfrom(65535)
            if datagram == b"stop":
                return
            self.senders.add(address[1])
            self.socket.sendto(datagram.upper(), address)

    def close(self) -> None:
        self.socket.sendto(b"stop", ("127.0.0.1", self.port))
        self.thread.join()
        self.socket.close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]


@pytest.fixture
def bind() -> int:
    return free_port()


@pytest.fixture
def port(origin: Origin, bind: int) -> Port:
    return Port(origin.port, "", bind, "UDP", http=False)


@pytest.fixture
def relay(port: Port, selector: selectors.BaseSelector) -> Relay:
    return Relay(port, "127.0.0.1", selector)


class Laptop:
    """The far end of a route's unix socket: answers each datagram with the client that it came from."""

    def __init__(self, path: Path, selector: selectors.BaseSelector) -> None:
        self.path = path
        self._selector = selector
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._stream: socket.socket | None = None
        self._reader = FrameParser()
        self.frames: list[Frame] = []
        self.is_mute = False
        """Whether it is not there yet, for all that sshd's end of the socket is."""

    def _accept(self) -> None:
        self._stream, _ = self._listener.accept()
        self._reader = FrameParser()
        self._selector.register(self._stream, selectors.EVENT_READ, self._serve)
        if not self.is_mute:
            self._stream.send(beat())

    def _serve(self) -> None:
        assert self._stream is not None
        data = self._stream.recv(1 << 20)
        if not data:
            self.hang_up()
            return
        for frame in self._reader.feed(data):
            self.frames.append(frame)
            if frame.kind == DATAGRAM:
                answer = b"laptop %s" % frame.payload
                self._stream.send(Frame(DATAGRAM, frame.flow, 0, NOWHERE, answer).encoded())

    def hang_up(self) -> None:
        if self._stream is not None:
            self._selector.unregister(self._stream)
            self._stream.close()
            self._stream = None

    def die(self) -> None:
        self._selector.unregister(self._listener)
        self._listener.close()
        self.hang_up()


@pytest.fixture
def laptop(tmp_path: Path, selector: selectors.BaseSelector) -> Laptop:
    return Laptop(tmp_path / "route.sock", selector)


def route(laptop: Laptop, *, fails: bool = False) -> UdpRoute:
    return UdpRoute("route1", str(laptop.path), fails)


def until(selector: selectors.BaseSelector, condition: Callable[[], bool]) -> None:
    """Run what the selector has until the condition holds."""
    deadline_s = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline_s
        for key, _ in selector.select(0.02):
            key.data()


def client(bind: int, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1" if family == socket.AF_INET else "::1", bind))
    made.setblocking(False)
    return made


def ask(selector: selectors.BaseSelector, asker: socket.socket, datagram: bytes, within_s: float = 5.0) -> bytes | None:
    """The answer, while the relay runs for so long."""
    asker.send(datagram)
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        for key, _ in selector.select(0.02):
            key.data()
        try:
            return asker.recv(65535)
        except BlockingIOError:
            continue
    return None


def lead_to(relay: Relay, laptop: Laptop, selector: selectors.BaseSelector, *, fails: bool = False) -> None:
    relay.lead(route(laptop, fails=fails))
    relay.reach_laptop(time.monotonic())
    until(selector, lambda: relay.route_up is not None)


def test_each_client_gets_its_own_answers(
    relay: Relay, selector: selectors.BaseSelector, bind: int, origin: Origin
) -> None:
    with client(bind) as one, client(bind) as two:
        assert ask(selector, one, b"a") == b"A"
        assert ask(selector, two, b"b") == b"B"
        assert ask(selector, one, b"c") == b"C"
    assert len(origin.senders) == 2
    assert relay.counts == {f"origin{origin.port}/UDP": Count(0, 3)}


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_a_client_may_come_by_ipv6(relay: Relay, selector: selectors.BaseSelector, bind: int) -> None:
    with client(bind, socket.AF_INET6) as six:
        assert ask(selector, six, b"a") == b"A"


@pytest.mark.parametrize("size", [0, 1, 1472, 60000])
def test_a_datagram_of_any_size(
    relay: Relay, selector: selectors.BaseSelector, bind: int, size: int, laptop: Laptop
) -> None:
    with client(bind) as one:
        assert ask(selector, one, b"x" * size) == b"X" * size
        lead_to(relay, laptop, selector)
        assert ask(selector, one, b"x" * size) == b"laptop " + b"x" * size


def test_while_a_laptop_lives_it_has_the_datagrams_each_client_as_a_flow(
    relay: Relay, selector: selectors.BaseSelector, bind: int, laptop: Laptop, origin: Origin
) -> None:
    lead_to(relay, laptop, selector)
    with client(bind) as one, client(bind) as two:
        for payload in (b"a", b"b"):
            assert ask(selector, one, payload) == b"laptop " + payload
        assert ask(selector, two, b"c") == b"laptop c"
        ports = [one.getsockname()[1]] * 2 + [two.getsockname()[1]]
    assert [frame.port for frame in laptop.frames] == ports
    assert {unmapped(frame.address) for frame in laptop.frames} == {socket.inet_aton("127.0.0.1")}
    assert len({frame.flow for frame in laptop.frames}) == 2
    assert not origin.senders
    assert relay.counts == {"route1": Count(3, 0)}


def test_a_laptop_that_has_not_spoken_yet_gets_nothing(
    relay: Relay, selector: selectors.BaseSelector, bind: int, laptop: Laptop
) -> None:
    laptop.is_mute = True
    relay.lead(route(laptop))
    relay.reach_laptop(time.monotonic())
    with client(bind) as one:
        assert ask(selector, one, b"a") == b"A"
    assert relay.is_trying


@pytest.mark.parametrize("end", [Laptop.hang_up, Laptop.die])
def test_the_original_pods_answer_as_soon_as_the_stream_has_ended(
    relay: Relay, selector: selectors.BaseSelector, bind: int, laptop: Laptop, end: Callable[[Laptop], None]
) -> None:
    lead_to(relay, laptop, selector)
    with client(bind) as one:
        assert ask(selector, one, b"a") == b"laptop a"
        end(laptop)
        until(selector, lambda: relay.route_up is None)
        assert ask(selector, one, b"b") == b"B"
        assert relay.counts == {"route1": Count(1, 1)}
        if end is Laptop.hang_up:
            relay.reach_laptop(time.monotonic() + 1.0)
            until(selector, lambda: relay.route_up is not None)
            assert ask(selector, one, b"c") == b"laptop c"


def test_who_wants_datagrams_to_fail_without_the_laptop_gets_that(
    relay: Relay, selector: selectors.BaseSelector, bind: int, laptop: Laptop
) -> None:
    lead_to(relay, laptop, selector, fails=True)
    with client(bind) as one:
        assert ask(selector, one, b"a") == b"laptop a"
        relay.lead(UdpRoute("route1", None, fails_when_down=True))
        assert ask(selector, one, b"b", within_s=0.1) is None
        relay.lead(None)
        assert ask(selector, one, b"c") == b"C"


@pytest.mark.parametrize(("is_answered", "idle_s"), [(False, udp_relay.IDLE_S), (True, udp_relay.ANSWERED_IDLE_S)])
def test_an_idle_client_is_forgotten_as_by_conntrack_and_may_come_again(
    port: Port, selector: selectors.BaseSelector, bind: int, laptop: Laptop, is_answered: bool, idle_s: float
) -> None:
    relay = Relay(port if is_answered else port._replace(port=free_port()), "127.0.0.1", selector)
    with client(bind) as one:
        assert (ask(selector, one, b"a", within_s=5.0 if is_answered else 0.1) == b"A") is is_answered
        lead_to(relay, laptop, selector)
        kept = len(selector.get_map())
        relay.expire(time.monotonic() + idle_s - 5.0)
        assert len(selector.get_map()) == kept
        relay.expire(time.monotonic() + idle_s)
        assert len(selector.get_map()) == kept - 1
        until(selector, lambda: [frame.kind for frame in laptop.frames] == [FORGET])
        assert ask(selector, one, b"b") == b"laptop b"


def test_the_longest_idle_client_makes_room(
    relay: Relay, selector: selectors.BaseSelector, bind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_relay, "MAX_CLIENTS", 2)
    clients = [client(bind) for _ in range(3)]
    for number, each in enumerate(clients):
        assert ask(selector, each, b"%d" % number) == b"%d" % number
    assert len(selector.get_map()) == 3
    assert ask(selector, clients[0], b"again") == b"AGAIN"
    for each in clients:
        each.close()


def test_an_origin_that_is_away_harms_nothing(selector: selectors.BaseSelector, bind: int, origin: Origin) -> None:
    Relay(Port(free_port(), "", bind, "UDP", http=False), "127.0.0.1", selector)
    with client(bind) as one:
        assert ask(selector, one, b"a", within_s=0.1) is None
        assert ask(selector, one, b"b", within_s=0.1) is None


def test_a_preview_has_laptops_only(selector: selectors.BaseSelector, port: Port, bind: int, laptop: Laptop) -> None:
    relay = Relay(port, None, selector)
    with client(bind) as one:
        assert ask(selector, one, b"a", within_s=0.1) is None
        lead_to(relay, laptop, selector)
        assert ask(selector, one, b"b") == b"laptop b"


def test_the_supervisor_says_who_has_a_port_and_hears_what_was_relayed(
    port: Port, selector: selectors.BaseSelector, bind: int, laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_relay, "REPORT_S", 0.0)
    supervisor, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child.setblocking(False)
    relays = UdpRelays(GatewaySpec("dns", "127.0.0.1", (port,)), child, selector)
    supervisor.send(encode_routes({port.port: route(laptop)}))
    supervisor.setblocking(False)

    def heard() -> RelayReport | None:
        relays.turn(0.02)
        try:
            return RelayReport.parse(supervisor.recv(65536))
        except BlockingIOError:
            return None

    deadline_s = time.monotonic() + 5.0
    reports: list[RelayReport] = []
    with client(bind) as one:
        while len(reports) < 2 and time.monotonic() < deadline_s:
            if (report := heard()) is not None:
                reports.append(report)
                one.send(b"a")
    assert reports == [
        RelayReport({}, frozenset({"route1"})),
        RelayReport({"route1": Count(1, 0)}, frozenset({"route1"})),
    ]
    child.send(RelayReport({}, frozenset()).encoded())  # one that is never read
    supervisor.close()
    relays.serve()  # which ends with it
