import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ktpy_agent import route
from ktpy_agent.route import carry

from ktpy.wire.pod import MAX_LINE_BYTES
from tests.unit.agent.beats import Beats


class Ends:
    """The forced command between a laptop, on two pipes, and the supervisor."""

    def __init__(self) -> None:
        self.stdin, self.laptop_in = os.pipe()
        self.laptop_out, self.stdout = os.pipe()
        os.set_blocking(self.stdout, False)
        self.control, self.supervisor = socket.socketpair()
        self.supervisor.settimeout(5)
        self._thread: threading.Thread | None = None

    def carry(self, silence_s: float = 30.0) -> None:
        arguments = (self.stdin, self.stdout, self.control, silence_s)
        self._thread = threading.Thread(target=carry, args=arguments)
        self._thread.start()

    def ended(self, timeout_s: float = 5.0) -> bool:
        assert self._thread
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def hang_up(self) -> None:
        if self.laptop_in >= 0:
            os.close(self.laptop_in)
            self.laptop_in = -1

    def close(self) -> None:
        self.hang_up()
        assert self.ended()
        self.supervisor.close()
        self.control.close()
        for descriptor in (self.stdin, self.stdout, self.laptop_out):
            os.close(descriptor)


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def test_the_hello_goes_on_and_the_beats_do_not(ends: Ends) -> None:
    ends.carry()
    os.write(ends.laptop_in, b'{"version"')
    os.write(ends.laptop_in, b": 1}\n{}\n")
    assert ends.supervisor.recv(4096) == b'{"version": 1}\n'
    os.write(ends.laptop_in, b"{}\n")
    ends.supervisor.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends.supervisor.recv(4096)


def test_what_the_supervisor_says_reaches_the_laptop(ends: Ends) -> None:
    ends.carry()
    ends.supervisor.sendall(b'{"accepted": []}\n')
    assert os.read(ends.laptop_out, 4096) == b'{"accepted": []}\n'


def test_a_hello_without_end_is_cut(ends: Ends) -> None:
    ends.carry()
    for _ in range(3):
        os.write(ends.laptop_in, b"a" * (MAX_LINE_BYTES // 2))
    received = b""
    while not received.endswith(b"\n"):
        received += ends.supervisor.recv(65536)
    assert len(received) == MAX_LINE_BYTES + 1


def test_silence_ends_it(ends: Ends) -> None:
    started_s = time.monotonic()
    ends.carry(silence_s=0.1)
    assert ends.ended()
    assert time.monotonic() - started_s >= 0.1


def test_beats_keep_it(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = Beats(ends.laptop_in, pause_s=20.0, left=6)
    monkeypatch.setattr(route, "time", beats)
    monkeypatch.setattr(route, "select", beats)
    ends.carry(silence_s=30.0)
    assert ends.ended()
    assert beats.now_s == 6 * 20.0 + 30.0


def test_the_laptops_end_ends_it_at_once(ends: Ends) -> None:
    ends.carry()
    ends.hang_up()
    assert ends.ended()


def test_the_supervisors_end_leaves_the_laptop_time_to_read_why(ends: Ends) -> None:
    ends.carry()
    ends.supervisor.sendall(b'{"refused": "no"}\n')
    ends.supervisor.close()
    assert not ends.ended(0.05)
    assert os.read(ends.laptop_out, 4096) == b'{"refused": "no"}\n'
    ends.hang_up()
    assert ends.ended(0.9)


def test_a_laptop_that_does_not_hang_up_is_not_waited_for(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "_LAST_WORDS_S", 0.05)
    ends.carry()
    ends.supervisor.close()
    assert ends.ended()


def test_a_laptop_that_does_not_read_is_given_up(ends: Ends) -> None:
    def until_full() -> None:
        with pytest.raises(BlockingIOError):
            carry(ends.stdin, ends.stdout, ends.control, 30.0)

    ends._thread = threading.Thread(target=until_full)
    ends._thread.start()
    ends.supervisor.setblocking(True)
    for _ in range(40):
        if not ends._thread.is_alive():
            break
        ends.supervisor.send(b"x" * 4096, socket.MSG_DONTWAIT)
        ends._thread.join(0.02)
    assert ends.ended()
