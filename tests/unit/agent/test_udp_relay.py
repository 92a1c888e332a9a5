import selectors
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ktpy_agent import udp_relay
from ktpy_agent.udp_relay import Relay, open_relays

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
def relay(origin: Origin, selector: selectors.BaseSelector, bind: int) -> Relay:
    return Relay(Port(origin.port, "", bind, "UDP", http=False), "127.0.0.1", selector)


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


def test_each_client_gets_its_own_answers(
    relay: Relay, selector: selectors.BaseSelector, bind: int, origin: Origin
) -> None:
    with client(bind) as one, client(bind) as two:
        assert ask(selector, one, b"a") == b"A"
        assert ask(selector, two, b"b") == b"B"
        assert ask(selector, one, b"c") == b"C"
    assert len(origin.senders) == 2


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_a_client_may_come_by_ipv6(relay: Relay, selector: selectors.BaseSelector, bind: int) -> None:
    with client(bind, socket.AF_INET6) as six:
        assert ask(selector, six, b"a") == b"A"


@pytest.mark.parametrize("size", [0, 1, 1472, 60000])
def test_a_datagram_of_any_size(relay: Relay, selector: selectors.BaseSelector, bind: int, size: int) -> None:
    with client(bind) as one:
        assert ask(selector, one, b"x" * size) == b"X" * size


def test_a_client_that_is_idle_is_forgotten_and_may_come_again(
    relay: Relay, selector: selectors.BaseSelector, bind: int, origin: Origin
) -> None:
    with client(bind) as one:
        ask(selector, one, b"a")
        relay.forget_idle(time.monotonic() - 60.0)
        assert len(selector.get_map()) == 2
        relay.forget_idle(time.monotonic())
        assert len(selector.get_map()) == 1
        assert ask(selector, one, b"b") == b"B"


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


def test_a_preview_relays_nothing(selector: selectors.BaseSelector) -> None:
    assert open_relays(GatewaySpec("web", None, (Port(53, "", free_port(), "UDP", http=False),)), selector) == []
