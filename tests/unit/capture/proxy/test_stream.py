"""A stream is read and written piece by piece, before it is spliced with another."""

import asyncio
from typing import cast

import pytest

from ktpy.capture.proxy.stream import Stream
from tests.unit.link.test_splice import Transport


def connected() -> tuple[Stream, Transport]:
    counted: list[int] = []
    stream, transport = Stream(counted.append), Transport()
    stream.connection_made(cast(asyncio.Transport, transport))
    return stream, transport


async def test_it_is_read_only_as_far_as_somebody_waits() -> None:
    stream, transport = connected()
    stream.data_received(b"one")
    assert transport.calls == ["pause_reading"]
    assert await stream.receive() == b"one"
    waiting = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    assert transport.calls[-1] == "resume_reading"
    stream.data_received(b"two")
    assert await waiting == b"two"


async def test_what_was_read_too_much_is_put_back() -> None:
    stream, _ = connected()
    stream.data_received(b"two")
    stream.unread(b"one ")
    assert await stream.receive() == b"one two"


async def test_the_end_of_the_stream() -> None:
    stream, _ = connected()
    stream.data_received(b"last")
    stream.eof_received()
    assert [await stream.receive(), await stream.receive()] == [b"last", b""]


async def test_a_connection_that_is_broken_off() -> None:
    stream, transport = connected()
    waiting = asyncio.create_task(stream.receive())
    await asyncio.sleep(0)
    stream.connection_lost(OSError("reset"))
    for reading in (waiting, stream.receive(), stream.send(b"x")):
        with pytest.raises(ConnectionResetError):
            await reading
    assert b"x" not in transport.calls


async def test_sending_waits_for_room() -> None:
    stream, transport = connected()
    stream.pause_writing()
    sending = asyncio.create_task(stream.send(b"much"))
    await asyncio.sleep(0)
    assert (transport.calls, sending.done()) == ([b"much"], False)
    stream.resume_writing()
    await sending


async def test_spliced_it_carries_what_came_before() -> None:
    (near, near_transport), (far, far_transport) = connected(), connected()
    near.data_received(b"early")
    near.splice(far)
    assert far_transport.calls[-1] == b"early" or b"early" in far_transport.calls
    assert near_transport.calls[-1] == "resume_reading"
    far.data_received(b"answer")
    assert near_transport.calls[-1] == b"answer"


async def test_spliced_it_is_not_read_while_the_other_is_full() -> None:
    (near, near_transport), (far, _) = connected(), connected()
    far.pause_writing()
    near.splice(far)
    assert "resume_reading" not in near_transport.calls
