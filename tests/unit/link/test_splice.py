"""Two ends between fake transports."""

import asyncio
import socket
from typing import Any, cast

import pytest

from ktpy.link.splice import End


class Transport:
    """A transport that writes down what is done to it."""

    def __init__(self, sock: socket.socket | None = None, *, can_write_eof: bool = True) -> None:
        self.calls: list[Any] = []
        self.sock = sock
        self.has_eof = can_write_eof

    def write(self, data: bytes) -> None:
        self.calls.append(bytes(data))

    def writelines(self, pieces: list[bytes]) -> None:
        self.calls.append(b"".join(pieces))

    def can_write_eof(self) -> bool:
        return self.has_eof

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self.sock if name == "socket" else None

    def __getattr__(self, name: str) -> Any:
        if name not in {"write_eof", "close", "abort", "pause_reading", "resume_reading"}:
            raise AttributeError(name)
        return lambda: self.calls.append(name)


def connected(**how: Any) -> tuple[End, Transport]:
    end, transport = End(), Transport(**how)
    end.connection_made(cast(asyncio.Transport, transport))
    return end, transport


class Pair:
    """Two ends that are joined; `calls` of either transport begin after that."""

    def __init__(self) -> None:
        self.near, self.at_near = connected()
        self.far, self.at_far = connected()
        self.near.join(self.far)
        self.at_near.calls.clear()
        self.at_far.calls.clear()


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_what_one_end_receives_the_other_writes(pair: Pair) -> None:
    pair.near.data_received(b"there")
    pair.far.data_received(b"back")
    assert (pair.at_far.calls, pair.at_near.calls) == ([b"there"], [b"back"])


def test_a_full_end_pauses_the_other(pair: Pair) -> None:
    pair.far.pause_writing()
    pair.far.resume_writing()
    assert pair.at_near.calls == ["pause_reading", "resume_reading"]


def test_a_half_close_is_carried_over_and_the_other_direction_goes_on(pair: Pair) -> None:
    assert pair.near.eof_received() is True
    pair.far.data_received(b"the rest")
    assert (pair.at_far.calls, pair.at_near.calls) == (["write_eof"], [b"the rest"])


def test_the_second_half_close_closes_both(pair: Pair) -> None:
    pair.near.eof_received()
    pair.far.eof_received()
    assert (pair.at_far.calls, pair.at_near.calls) == (["write_eof", "close"], ["close"])


def test_a_half_close_that_a_transport_does_not_know_is_left_out() -> None:
    near, _ = connected()
    far, at_far = connected(can_write_eof=False)
    near.join(far)
    near.eof_received()
    assert "write_eof" not in at_far.calls


def test_a_closed_end_closes_the_other(pair: Pair) -> None:
    pair.near.connection_lost(None)
    assert pair.at_far.calls == ["close"]


def test_a_reset_end_resets_the_other() -> None:
    with socket.socket() as sock:
        near, _ = connected()
        far, at_far = connected(sock=sock)
        near.join(far)
        near.connection_lost(ConnectionResetError())
        assert at_far.calls[-1] == "abort"
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == b"\x01\0\0\0\0\0\0\0"


def test_a_reset_of_a_socket_that_is_gone_already_aborts_all_the_same() -> None:
    sock = socket.socket()
    sock.close()
    end, transport = connected(sock=sock)
    end.end(ConnectionResetError())
    assert transport.calls == ["abort"]


def test_what_comes_for_an_end_that_is_lost_is_dropped(pair: Pair) -> None:
    """A closed transport of uvloop's raises RuntimeError at each write."""
    pair.far.note_loss()
    pair.near.data_received(b"late")
    pair.near.connection_lost(None)
    assert pair.at_far.calls == []


def test_what_came_early_for_an_end_that_is_lost_by_then_is_dropped() -> None:
    (near, at_near), (far, at_far) = connected(), connected()
    near.data_received(b"early")
    far.connection_lost(None)
    near.join(far)
    near.data_received(b"late")
    assert at_far.calls == ["resume_reading"]
    assert "close" in at_near.calls


def test_an_end_that_is_lost_is_not_ended_again(pair: Pair) -> None:
    pair.near.connection_lost(None)
    pair.near.end(ConnectionResetError())
    pair.far.connection_lost(None)
    assert pair.at_near.calls == []


def test_an_end_without_a_transport_is_ended_without_harm() -> None:
    End().end(ConnectionResetError())


# --- before they are joined


def test_what_comes_early_pauses_reading_and_is_written_first() -> None:
    near, _ = connected()
    far, at_far = connected()
    near.data_received(b"ear")
    near.data_received(b"ly")
    near.join(far)
    near.data_received(b"later")
    assert [call for call in at_far.calls if isinstance(call, bytes)] == [b"early", b"later"]


def test_the_end_that_waited_is_read_from_then_on() -> None:
    near, _ = connected()
    far, at_far = connected()
    near.join(far)
    assert at_far.calls == ["resume_reading"]


def test_the_end_that_waited_stays_paused_while_the_other_is_full() -> None:
    near, _ = connected()
    far, at_far = connected()
    near.pause_writing()
    near.join(far)
    assert at_far.calls == []
    near.resume_writing()
    assert at_far.calls == ["resume_reading"]


def test_an_early_half_close_is_carried_over() -> None:
    near, _ = connected()
    far, at_far = connected()
    near.eof_received()
    near.join(far)
    assert "write_eof" in at_far.calls


def test_an_end_that_was_lost_early_ends_the_other() -> None:
    near, at_near = connected()
    far, _ = connected()
    far.connection_lost(ConnectionResetError())
    near.join(far)
    assert at_near.calls == ["abort"]


def test_a_closing_transport_is_neither_paused_nor_resumed(pair: Pair) -> None:
    pair.at_near.calls.append("close")
    pair.far.pause_writing()
    pair.far.resume_writing()
    assert pair.at_near.calls == ["close"]
