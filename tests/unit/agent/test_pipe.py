"""Bytes that the kernel moves from one socket to another."""

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

import pytest
from ktpy_agent.pipe import Pipe


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    with one, other:
        yield one, other


def test_it_goes_from_one_to_the_other(pipe: Pipe, ends: tuple[socket.socket, socket.socket]) -> None:
    source, sink = socket.socketpair()
    with source, sink:
        ends[0].send(b"hello")
        assert pipe.fill(ends[1]) == 5
        assert pipe.drain(source, 5) == b""
        assert sink.recv(10) == b"hello"


def test_not_more_than_asked_for(pipe: Pipe, ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].send(b"hello")
    assert pipe.fill(ends[1], 2) == 2
    assert pipe.drain(None, 2) == b"he"
    assert ends[1].recv(10) == b"llo"


def test_what_the_sink_does_not_take_is_returned(pipe: Pipe, ends: tuple[socket.socket, socket.socket]) -> None:
    full, _other = socket.socketpair()
    with full, _other:
        full.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                full.send(bytes(1 << 16))
        ends[0].send(b"hello")
        assert pipe.drain(full, pipe.fill(ends[1])) == b"hello"


def test_nothing_is_there(pipe: Pipe, ends: tuple[socket.socket, socket.socket]) -> None:
    assert pipe.fill(ends[1]) == 0
    ends[0].close()
    assert pipe.fill(ends[1]) == 0, "reading tells that it has ended"


def test_a_source_that_was_reset_says_so(pipe: Pipe) -> None:
    """Reading would take it for the end of the stream after that: the kernel tells an error once."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as one:
        other, _ = listener.accept()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()
        with pytest.raises(ConnectionResetError):
            pipe.fill(one)


def test_a_sink_that_has_ended(pipe: Pipe, ends: tuple[socket.socket, socket.socket]) -> None:
    ended, other = socket.socketpair()
    other.close()
    with ended:
        ends[0].send(b"hello")
        assert pipe.drain(ended, pipe.fill(ends[1])) == b"hello"
