import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ktpy_agent import control
from ktpy_agent.control import ControlSocket, RouteConnection

from ktpy.wire.pod import MAX_LINE_BYTES

SILENCE_S = 3.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Gateway:
    """The control socket in a gateway, which notes what it hears."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hellos: list[tuple[str, bytes]] = []
        self.ends: list[str] = []
        self.connections: list[RouteConnection] = []
        self._selector = selectors.DefaultSelector()
        self.control = ControlSocket(path, self._selector, SILENCE_S, self._note_hello, self._note_end)

    def _note_hello(self, connection: RouteConnection, line: bytes) -> None:
        self.hellos.append((connection.session, line))
        self.connections.append(connection)

    def _note_end(self, connection: RouteConnection) -> None:
        self.ends.append(connection.session)

    def turn(self) -> None:
        """Take all that has come."""
        while self.round():
            pass

    def round(self) -> bool:
        """Take what there is now; False when that is nothing."""
        events = self._selector.select(0)
        for key, _ in events:
            key.data()
        return bool(events)

    def close(self) -> None:
        self.control.close()
        self._selector.close()


class Session:
    """An SSH session of a laptop: sshd's ends of its input and output, and the process that hands them over."""

    def __init__(self, path: Path, name: str) -> None:
        stdin, self.laptop_in = os.pipe()
        self.laptop_out, stdout = os.pipe()
        self.keeper = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.keeper.connect(str(path))
        self.keeper.settimeout(0)
        socket.send_fds(self.keeper, [name.encode()], [stdin, stdout])
        os.close(stdin)
        os.close(stdout)

    def is_kept(self) -> bool:
        try:
            return bool(self.keeper.recv(1))
        except BlockingIOError:
            return True

    def hang_up(self) -> None:
        os.close(self.laptop_in)
        self.laptop_in = -1

    def close(self) -> None:
        if self.laptop_in >= 0:
            self.hang_up()
        os.close(self.laptop_out)
        self.keeper.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(control, "time", clock)
    return clock


@pytest.fixture
def gateway(tmp_path: Path, clock: Clock) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path / "control.sock")
    yield gateway
    gateway.close()


@pytest.fixture
def session(gateway: Gateway) -> Iterator[Session]:
    session = Session(gateway.path, "s1")
    yield session
    session.close()


def test_the_first_line_is_the_hello_and_the_others_are_beats(gateway: Gateway, session: Session) -> None:
    os.write(session.laptop_in, b'{"version"')
    gateway.turn()
    assert gateway.hellos == []
    os.write(session.laptop_in, b": 1}\n{}\n")
    gateway.turn()
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    assert gateway.hellos == [("s1", b'{"version": 1}')]


def test_those_that_come_at_once_are_heard_in_one_round(gateway: Gateway) -> None:
    with ExitStack() as stack:
        for name in ("s1", "s2", "s3"):
            session = Session(gateway.path, name)
            stack.callback(session.close)
            os.write(session.laptop_in, b"{}\n")
        gateway.round()  # accepts
        gateway.round()  # takes what they hand over
        assert gateway.hellos == []
        gateway.round()
        assert sorted(gateway.hellos) == [("s1", b"{}"), ("s2", b"{}"), ("s3", b"{}")]


def test_a_hello_without_end_is_cut(gateway: Gateway, session: Session) -> None:
    for _ in range(3):
        os.write(session.laptop_in, b"a" * (MAX_LINE_BYTES // 2))
        gateway.turn()
    assert [len(line) for _, line in gateway.hellos] == [MAX_LINE_BYTES]


def test_what_the_gateway_says_reaches_the_laptop(gateway: Gateway, session: Session) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    assert gateway.connections[0].send(b'{"accepted": []}\n')
    assert os.read(session.laptop_out, 4096) == b'{"accepted": []}\n'


def test_a_laptop_that_does_not_read_is_given_up(gateway: Gateway, session: Session) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    line = b"x" * 4095 + b"\n"
    assert not all(gateway.connections[0].send(line) for _ in range(100))


def test_silence_ends_it(gateway: Gateway, session: Session, clock: Clock) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    clock.now_s += SILENCE_S - 0.1
    gateway.control.end_silent()
    assert session.is_kept()
    clock.now_s += 0.2
    gateway.control.end_silent()
    assert not session.is_kept()
    assert gateway.ends == ["s1"]


def test_beats_keep_it_however_long_the_gateway_was_busy(gateway: Gateway, session: Session, clock: Clock) -> None:
    for _ in range(5):
        os.write(session.laptop_in, b"{}\n")
        clock.now_s += 2 * SILENCE_S
        gateway.turn()
        gateway.control.end_silent()
    assert session.is_kept()


def test_a_session_that_never_says_hello_ends(gateway: Gateway, session: Session, clock: Clock) -> None:
    gateway.turn()
    clock.now_s += SILENCE_S + 0.1
    gateway.control.end_silent()
    assert not session.is_kept()


def test_the_laptops_end_ends_it_at_once(gateway: Gateway, session: Session) -> None:
    gateway.turn()
    session.hang_up()
    gateway.turn()
    assert not session.is_kept()
    assert gateway.ends == ["s1"]


def test_it_ends_with_the_process_that_handed_it_over(gateway: Gateway, session: Session) -> None:
    gateway.turn()
    session.keeper.close()
    gateway.turn()
    assert gateway.ends == ["s1"]
    assert os.read(session.laptop_out, 1) == b""


def test_a_process_that_dies_before_it_hands_anything_over(gateway: Gateway) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as keeper:
        keeper.connect(str(gateway.path))
    gateway.turn()
    assert gateway.ends == []


def test_one_that_is_dropped_ends_at_once_and_nobody_is_told(gateway: Gateway, session: Session) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    gateway.control.drop(gateway.connections[0])
    assert not session.is_kept()
    assert gateway.ends == []


def test_one_that_is_dismissed_has_time_to_read_why(gateway: Gateway, session: Session) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    gateway.connections[0].send(b'{"refused": "no"}\n')
    gateway.control.dismiss(gateway.connections[0])
    gateway.control.end_silent()
    assert session.is_kept()
    assert os.read(session.laptop_out, 4096) == b'{"refused": "no"}\n'
    session.hang_up()
    gateway.turn()
    assert not session.is_kept()


def test_one_that_is_dismissed_and_goes_on_beating_is_not_waited_for(
    gateway: Gateway, session: Session, clock: Clock
) -> None:
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    gateway.control.dismiss(gateway.connections[0])
    clock.now_s += 0.9
    os.write(session.laptop_in, b"{}\n")
    gateway.turn()
    clock.now_s += 0.2
    gateway.control.end_silent()
    assert not session.is_kept()
