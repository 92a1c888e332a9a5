"""The laptop's half of a connection that outlives its link, between fakes."""

import errno
from typing import Any

import pytest

from ktpy.errors import LinkLost
from ktpy.link.kept_flow import KeptFlow
from ktpy.wire.flows import ANSWER, CLOSE, DONE, END, FLOW, GONE, RECEIVED, RESUME, TOKEN_BYTES, Note, Opening
from ktpy.wire.ledger import RING_BYTES, Budget
from tests.component.link.shadow import Client

LOST = LinkLost("The link is lost.")


class Way:
    token = bytes(TOKEN_BYTES)

    def __init__(self) -> None:
        self.told: list[Note] = []
        self.opened = self.outrun = self.received = 0
        self.spares: list[Any] = []
        self.is_forgotten = False

    def tell(self, note: Note) -> None:
        self.told.append(note)

    def has_received(self, _flow: KeptFlow) -> None:
        self.received += 1

    def open_channel(self, _flow: KeptFlow) -> None:
        self.opened += 1

    def spare(self, channel: Any) -> None:
        self.spares.append(channel)

    def outran(self) -> None:
        self.outrun += 1

    def forget(self, _flow: KeptFlow) -> None:
        self.is_forgotten = True


class FakeChannel:
    def __init__(self) -> None:
        self.written = b""
        self.is_reading = True
        self.is_aborted = False

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return 7


class Story:
    """A flow that is connected, and its client."""

    def __init__(self) -> None:
        self.way, self.client = Way(), Client()
        self.flow = KeptFlow(self.way, 5, Budget(), lambda: self.client, ("10.96.0.1", 80))
        self.channel = FakeChannel()
        self.flow.take(Note(ANSWER, 5))
        self.attach()

    def attach(self) -> bytes:
        """Give it another channel; return what that begins with, without the opening."""
        self.channel = FakeChannel()
        channel: Any = self.channel
        self.flow.connection_made(channel)
        opening = Opening(FLOW, self.way.token, 5).encoded()
        assert self.channel.written.startswith(opening)
        return self.channel.written.removeprefix(opening)

    def back(self, received: int) -> bytes:
        assert self.flow.resume(received)
        return self.attach()


@pytest.fixture
async def story() -> Story:
    return Story()


async def test_a_channel_that_was_full_is_not_waited_for_on_the_next_link(story: Story) -> None:
    story.flow.pause_writing()
    story.flow.connection_lost(LOST)
    assert not story.client.may_write.is_set()
    story.back(0)
    assert story.client.may_write.is_set()


async def test_what_has_not_arrived_is_written_again(story: Story) -> None:
    story.flow.write(b"abc")
    story.flow.writelines([memoryview(b"de"), bytearray(b"f")])
    story.flow.take(Note(RECEIVED, 5, 1))
    story.flow.connection_lost(LOST)
    story.flow.write(b"g")
    assert story.back(2) == b"cdefg"


async def test_a_client_that_does_not_read_is_asked_for_nothing_on_the_next_link(story: Story) -> None:
    story.flow.pause_reading()
    assert not story.channel.is_reading
    story.flow.connection_lost(LOST)
    story.back(0)
    assert not story.channel.is_reading
    story.flow.resume_reading()
    assert story.channel.is_reading


async def test_what_the_agent_is_told_over_the_next_link(story: Story) -> None:
    story.flow.data_received(b"abc")
    assert story.flow.restated() == [Note(RESUME, 5, 3)]
    story.flow.write(b"x")
    story.flow.write_eof()
    assert story.flow.restated() == [Note(RESUME, 5, 3), Note(END, 5, 1)]
    story.flow.close()
    assert story.flow.restated() == [Note(RESUME, 5, 3), Note(CLOSE, 5, 1)]


async def test_an_end_waits_for_what_is_before_it(story: Story) -> None:
    story.flow.take(Note(END, 5, 3))
    story.flow.data_received(b"ab")
    assert not story.client.eof.done()
    story.flow.data_received(b"c")
    assert story.client.eof.done()
    assert story.client.received == b"abc"


async def test_data_may_come_before_the_answer() -> None:
    way, client = Way(), Client()
    flow = KeptFlow(way, 5, Budget(), lambda: client, ("10.96.0.1", 80))
    flow.data_received(b"early")
    await flow.answered
    flow.take(Note(ANSWER, 5))
    assert client.received == b"early"


async def test_a_verdict_waits_for_what_is_before_it(story: Story) -> None:
    story.flow.take(Note(GONE, 5, errno.ECONNRESET))
    story.flow.data_received(b"last words")
    story.flow.eof_received()
    error = await story.client.lost
    assert isinstance(error, ConnectionResetError)
    assert story.client.received == b"last words"


@pytest.mark.parametrize("order", [(END, DONE), (DONE,)])
async def test_a_channel_is_spared_once_everything_has_come(story: Story, order: tuple[int, ...]) -> None:
    story.flow.close()
    for kind in order:
        story.flow.take(Note(kind, 5))
    assert await story.client.lost is None
    assert story.way.is_forgotten
    assert (len(story.way.spares) == 1) is (END in order) is not story.channel.is_aborted


async def test_more_under_way_than_is_held_is_lost_with_the_link(story: Story) -> None:
    story.flow.write(bytes(RING_BYTES))
    assert not story.client.may_write.is_set()
    story.flow.take(Note(RECEIVED, 5, 1))
    assert story.client.may_write.is_set(), "its speed is not touched"
    assert story.way.outrun == 1
    story.flow.connection_lost(LOST)
    assert not story.flow.resume(RING_BYTES - 1)
    assert story.flow.resume(RING_BYTES)


async def test_what_a_transport_tells(story: Story) -> None:
    assert story.flow.get_extra_info("peername") == ("10.96.0.1", 80)
    assert story.flow.get_extra_info("socket") is None
    assert story.flow.get_write_buffer_size() == 7
    assert story.flow.get_protocol() is story.client
    assert story.flow.can_write_eof()
    assert story.flow.is_reading()
    story.flow.write_eof()
    with pytest.raises(RuntimeError):
        story.flow.write(b"x")
    story.flow.abort()
    assert story.flow.is_closing()
    assert await story.client.lost is None
    assert story.way.told[-1] == Note(GONE, 5)
