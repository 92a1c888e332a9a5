"""The laptop's half of a connection over several channels, between fakes."""

import asyncio
import errno
from collections.abc import Iterable
from typing import Any

import pytest

from ktpy.link import striped_flow
from ktpy.link.channel import CLOSE_TIMEOUT_S
from ktpy.link.striped_flow import RETIRE_AFTER_S, Joining, StripedFlow, Unanswered
from ktpy.wire.flows import OPENING_BYTES, STRIPE, STRIPED, Opening
from ktpy.wire.stripes import (
    BARE_FRAME_BYTES,
    FRAME_BYTES,
    HEADER_BYTES,
    WIDE_AFTER_BYTES,
    Incoming,
    Outgoing,
    answer,
)
from tests.component.link.shadow import Client

LOST = ConnectionAbortedError("the tunnel is gone")


class FakeChannel:
    frame_bytes = FRAME_BYTES

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = b""
        self.room_bytes = 1 << 20
        self.is_reading, self.is_closed, self.is_aborted = True, False, False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return 7

    def get_protocol(self) -> Any:
        return self.protocol


class Story:
    """A flow that was dialled, its client, and the agent."""

    def __init__(self) -> None:
        self.client = Client()
        self.bulk: list[StripedFlow] = []
        self.may_be_wide = True
        self.reused: list[Any] = []
        self.flow = StripedFlow(lambda: self.client, ("10.96.0.1", 80), self._has_bulk, self.reused.append)
        self.agent, self.heard = Outgoing(), Incoming()
        self.channels: list[FakeChannel] = [FakeChannel()]
        self.flow.begin(self.channels[0])  # type: ignore[arg-type]

    def _has_bulk(self, flow: StripedFlow) -> bool:
        self.bulk.append(flow)
        return self.may_be_wide

    def answer(self, error: int = 0) -> "Story":
        self.say_raw(answer(error))
        return self

    def join(self) -> FakeChannel:
        channel = FakeChannel()
        self.flow.join(channel)  # type: ignore[arg-type]
        self.channels.append(channel)
        return channel

    def say_raw(self, data: bytes, channel: int = 0) -> None:
        self.channels[channel].protocol.data_received(data)

    def say(self, data: bytes, channel: int = 0) -> None:
        self.say_raw(self.agent.header(len(data)) + data, channel)

    def opening(self, channel: int = 0) -> Opening:
        return Opening.parse(self.channels[channel].written[:OPENING_BYTES])

    def all_heard(self) -> bytes:
        """What the agent makes of all that was written."""
        incoming = Incoming()
        for channel in self.channels:
            incoming.add(channel)
        first, *bare = self.channels
        heard = incoming.feed(first, first.written[OPENING_BYTES:])
        heard += b"".join(incoming.feed(channel, channel.written) for channel in bare)
        self.heard = incoming
        return heard


@pytest.fixture
async def story() -> Story:
    return Story()


async def test_the_agent_is_asked_and_the_protocol_hears_of_it_with_the_answer(story: Story) -> None:
    opening = story.opening()
    assert (opening.kind, opening.port, opening.address[-4:]) == (STRIPED, 80, bytes([10, 96, 0, 1]))
    assert not story.flow.answered.done()
    said = answer(0) + story.agent.header(5) + b"hello"
    for number in range(len(said)):
        story.say_raw(said[number : number + 1])
        assert story.flow.answered.done() == (number >= 3)
    assert story.client.received == b"hello"
    assert story.flow.get_extra_info("peername") == ("10.96.0.1", 80)
    assert story.flow.get_protocol() is story.client


async def test_a_refusal_leaves_the_channel_for_another(story: Story) -> None:
    story.answer(errno.ECONNREFUSED)
    with pytest.raises(ConnectionRefusedError):
        await story.flow.answered
    assert story.reused == story.channels


@pytest.mark.parametrize("how", ["eof", "lost"])
async def test_the_channel_ends_before_the_answer(story: Story, how: str) -> None:
    protocol = story.channels[0].protocol
    protocol.eof_received() if how == "eof" else protocol.connection_lost(LOST)
    with pytest.raises(Unanswered):
        await story.flow.answered


async def test_whoever_gives_up_dialling_ends_the_channel(story: Story) -> None:
    story.flow.abort()
    assert story.channels[0].is_aborted
    story.channels[0].protocol.connection_lost(None)
    assert not story.flow.answered.done()


async def test_what_is_written_is_cut_into_frames(story: Story) -> None:
    story.answer()
    data = bytes(range(250)) * 1000
    story.flow.writelines([memoryview(data)[:100], bytearray(data[100:])])
    assert story.all_heard() == data
    frames = -(-len(data) // FRAME_BYTES)
    assert len(story.channels[0].written) == OPENING_BYTES + len(data) + frames * HEADER_BYTES


async def test_bulk_is_told_once(story: Story) -> None:
    story.answer()
    story.flow.write(bytes(WIDE_AFTER_BYTES - 1))
    assert story.bulk == []
    story.flow.write(b"x")
    assert story.bulk == [story.flow]
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    assert story.bulk == [story.flow]


async def test_bulk_that_may_not_go_over_others_is_told_again(story: Story) -> None:
    story.answer()
    story.may_be_wide = False
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    story.may_be_wide = True
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    assert story.bulk == [story.flow, story.flow]


async def test_busy_while_something_moves(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.answer()
    assert not story.flow.is_busy
    story.flow.write(b"x")
    assert story.flow.is_busy
    monkeypatch.setattr(striped_flow, "IDLE_AFTER_S", 0.0)
    assert not story.flow.is_busy
    monkeypatch.undo()
    story.flow.abort()
    assert not story.flow.is_busy


async def test_a_channel_that_was_not_read_is_read_when_it_is_used_again(story: Story) -> None:
    story.answer()
    story.flow.write_eof()
    story.say_raw(story.agent.end())
    story.flow.pause_reading()
    story.flow.close()
    assert story.reused == story.channels
    assert story.channels[0].is_reading


async def test_bulk_that_is_received_is_bulk_too(story: Story) -> None:
    story.answer()
    for _ in range(WIDE_AFTER_BYTES // FRAME_BYTES + 1):
        story.say(bytes(FRAME_BYTES))
    assert story.bulk == [story.flow]


async def test_a_further_channel_shows_that_it_may_join(story: Story) -> None:
    opening = Opening.parse(story.flow.stripe_opening())
    assert (opening.kind, opening.token) == (STRIPE, story.opening().token)


async def test_the_further_channel_with_the_most_room_takes_the_next_frame(story: Story) -> None:
    story.answer()
    further = [story.join(), story.join()]
    over_the_first = story.channels[0].written
    for room, other in ((5, 9), (9, 5)):
        further[0].room_bytes, further[1].room_bytes = room, other
        before = [len(channel.written) for channel in further]
        story.flow.write(b"x")
        grown = [len(channel.written) > length for channel, length in zip(further, before, strict=True)]
        assert grown == [room > other, other > room]
    assert story.channels[0].written == over_the_first


async def test_a_channel_says_how_long_frames_are(story: Story) -> None:
    story.answer()
    bare = story.join()
    bare.frame_bytes = BARE_FRAME_BYTES
    story.flow.write(bytes(2 * BARE_FRAME_BYTES))
    assert len(bare.written) == 2 * (BARE_FRAME_BYTES + HEADER_BYTES)


async def test_a_channel_that_is_full_takes_nothing_and_all_full_ones_stop_the_protocol(story: Story) -> None:
    story.answer()
    further = [story.join(), story.join()]
    further[0].protocol.pause_writing()
    assert story.client.may_write.is_set()
    further[1].room_bytes = -1
    story.flow.write(b"x")
    assert further[0].written == b""
    further[1].protocol.pause_writing()
    assert not story.client.may_write.is_set()
    further[0].protocol.resume_writing()
    assert story.client.may_write.is_set()


class TestIdle:
    """What carries nothing goes over SSH again."""

    async def test_what_is_idle_goes_over_ssh_again(self, story: Story) -> None:
        story.answer()
        bare = story.join()
        await asyncio.sleep(2 * RETIRE_AFTER_S)
        assert bare.written == Outgoing.retire()
        story.flow.write(b"over SSH")
        assert story.all_heard() == b"over SSH"
        assert (bare.is_aborted, story.heard.retired) == (False, {bare})

    async def test_what_the_agent_sent_before_is_not_lost(self, story: Story) -> None:
        story.answer()
        bare = story.join()
        await asyncio.sleep(2 * RETIRE_AFTER_S)
        first = story.agent.header(3) + b"one"
        story.say(b"two", 0)
        story.say_raw(first + Outgoing.retire(), 1)
        assert story.client.received == b"onetwo"
        assert bare.is_aborted
        bare.protocol.connection_lost(LOST)
        assert not story.client.lost.done()

    async def test_it_is_bulk_again(self, story: Story) -> None:
        story.answer()
        story.flow.write(bytes(WIDE_AFTER_BYTES))
        story.join()
        await asyncio.sleep(2 * RETIRE_AFTER_S)
        story.flow.write(bytes(WIDE_AFTER_BYTES))
        assert story.bulk == [story.flow, story.flow]

    async def test_what_moves_stays(self, story: Story) -> None:
        story.answer()
        bare = story.join()
        for _ in range(4):
            await asyncio.sleep(0.6 * RETIRE_AFTER_S)
            story.flow.write(b"x")
        assert not bare.written.endswith(Outgoing.retire())

    async def test_what_has_ended_is_left_alone(self, story: Story) -> None:
        story.answer()
        bare = story.join()
        story.flow.close()
        await asyncio.sleep(2 * RETIRE_AFTER_S)
        assert bare.written == b""


async def test_bulk_for_which_no_channel_could_be_opened_is_told_again(story: Story) -> None:
    story.answer()
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    story.flow.may_widen_again()
    story.flow.write(bytes(WIDE_AFTER_BYTES))
    assert story.bulk == [story.flow, story.flow]


async def test_a_further_channel_lets_a_protocol_write_that_waits(story: Story) -> None:
    story.answer()
    story.channels[0].protocol.pause_writing()
    story.join()
    assert story.client.may_write.is_set()


async def test_a_channel_that_is_full_when_the_answer_comes(story: Story) -> None:
    story.channels[0].protocol.pause_writing()
    story.answer()
    assert not story.client.may_write.is_set()


async def test_a_channel_that_is_ahead_is_not_read(story: Story) -> None:
    story.answer()
    second = story.join()
    first = story.agent.header(3) + b"one"
    story.say(b"two", 1)
    assert (story.channels[0].is_reading, second.is_reading) == (True, False)
    assert story.client.received == b""
    story.say_raw(first)
    assert story.client.received == b"onetwo"
    assert second.is_reading


async def test_a_protocol_that_does_not_read_stops_all_channels(story: Story) -> None:
    story.answer()
    story.flow.pause_reading()
    story.join()
    assert [channel.is_reading for channel in story.channels] == [False, False]
    assert not story.flow.is_reading()
    story.flow.resume_reading()
    assert [channel.is_reading for channel in story.channels] == [True, True]


async def test_both_streams_end_and_the_first_channel_is_used_again(story: Story) -> None:
    story.answer()
    second = story.join()
    story.flow.write(b"all")
    story.flow.write_eof()
    story.flow.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        story.flow.write(b"more")
    assert story.all_heard() == b"all"
    assert story.heard.has_ended
    story.say_raw(story.agent.end())
    assert story.client.eof.done()
    story.flow.close()
    assert story.reused == [story.channels[0]]
    assert (second.is_closed, story.channels[0].is_closed) == (False, False)
    assert await story.client.lost is None
    await asyncio.sleep(CLOSE_TIMEOUT_S + 1)
    assert second.is_aborted, "the agent should have closed it"


async def test_the_end_goes_over_the_channel_that_may_be_used_again(story: Story) -> None:
    story.answer()
    story.join()
    before = len(story.channels[0].written)
    story.flow.write_eof()
    assert len(story.channels[0].written) == before + HEADER_BYTES


async def test_a_protocol_that_closes_at_the_end_is_closed(story: Story) -> None:
    story.client.half_open = False
    story.answer()
    story.say_raw(story.agent.end())
    assert story.reused == story.channels
    assert await story.client.lost is None


async def test_a_protocol_that_gives_up_at_the_last_word_hears_of_no_end(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.answer()
    monkeypatch.setattr(story.client, "data_received", lambda _: story.flow.abort())
    story.say_raw(story.agent.header(1) + b"x" + story.agent.end())
    assert await story.client.lost is None
    assert not story.client.eof.done()


async def test_closed_before_the_agents_end(story: Story) -> None:
    story.answer()
    second = story.join()
    story.flow.pause_reading()
    story.flow.write(b"last words")
    story.flow.close()
    story.flow.close()
    story.flow.write(b"more")
    assert story.all_heard() == b"last words"
    assert story.heard.has_ended
    assert story.flow.is_closing()
    for channel in (story.channels[0], second):
        assert channel.is_reading, "the end is behind what nobody wants any more"
    assert (story.channels[0].is_closed, second.is_closed) == (True, False), "the agent closes the other"
    story.say(b"unwanted")
    story.channels[0].protocol.connection_lost(None)
    assert not story.client.lost.done()
    second.protocol.connection_lost(None)
    assert await story.client.lost is None
    assert story.client.received == b""
    assert story.reused == []


async def test_a_channel_that_is_lost_resets_the_flow(story: Story) -> None:
    story.answer()
    second = story.join()
    second.protocol.connection_lost(LOST)
    assert await story.client.lost is LOST
    assert story.channels[0].is_aborted


@pytest.mark.parametrize("channel", [0, 1])
async def test_the_agent_ends_a_channel_before_the_stream(story: Story, channel: int) -> None:
    story.answer()
    story.join()
    story.say(b"last words", channel)
    story.channels[channel].protocol.eof_received()
    assert isinstance(await story.client.lost, ConnectionResetError)
    assert story.client.received == b"last words"
    assert story.channels[1 - channel].is_aborted


async def test_the_agent_closes_a_further_channel_once_both_streams_have_ended(story: Story) -> None:
    """Its end may be here before that of the stream, which comes over the first channel."""
    story.answer()
    bare = story.join()
    story.flow.write_eof()
    bare.protocol.connection_lost(LOST)
    assert not story.client.lost.done()
    story.say_raw(story.agent.end())
    story.flow.close()
    assert await story.client.lost is None
    assert story.reused == [story.channels[0]]


async def test_a_further_channel_ends_in_a_frame(story: Story) -> None:
    story.answer()
    bare = story.join()
    story.flow.write_eof()
    story.say_raw(story.agent.header(2) + b"x", 1)
    bare.protocol.connection_lost(LOST)
    assert await story.client.lost is LOST


async def test_what_no_agent_of_ours_says(story: Story) -> None:
    story.answer()
    story.say_raw(story.agent.header(1 << 30))
    assert isinstance(await story.client.lost, ConnectionResetError)
    assert story.channels[0].is_aborted


async def test_aborted(story: Story) -> None:
    story.answer()
    story.join()
    story.flow.abort()
    assert all(channel.is_aborted for channel in story.channels)
    assert await story.client.lost is None


async def test_what_waits_in_all_channels(story: Story) -> None:
    story.answer()
    story.join()
    assert story.flow.get_write_buffer_size() == 14
    assert story.flow.can_write_eof()


class TestJoining:
    """A channel that the agent has yet to take for the flow's."""

    async def test_it_joins_with_the_answer(self, story: Story) -> None:
        story.answer()
        channel = FakeChannel()
        joining = Joining(story.flow, channel)  # type: ignore[arg-type]
        opening = Opening.parse(channel.written)
        assert (opening.kind, opening.token) == (STRIPE, story.opening().token)
        said = answer(0) + story.agent.header(4) + b"more"
        for number in range(4):
            assert not joining.done.done()
            channel.protocol.data_received(said[number : number + 1])
        assert joining.done.done()
        channel.protocol.data_received(said[4:])
        assert story.client.received == b"more"

    async def test_what_comes_with_the_answer(self, story: Story) -> None:
        story.answer()
        channel = FakeChannel()
        Joining(story.flow, channel)  # type: ignore[arg-type]
        channel.protocol.data_received(answer(0) + story.agent.header(4) + b"more")
        assert story.client.received == b"more"

    async def test_the_flow_is_over_meanwhile(self, story: Story) -> None:
        story.answer()
        channel = FakeChannel()
        Joining(story.flow, channel)  # type: ignore[arg-type]
        story.flow.close()
        channel.protocol.data_received(answer(0))
        assert not channel.is_aborted, "the agent would take that for a loss, and reset what is under way"
        channel.protocol.data_received(b"unwanted")
        await asyncio.sleep(CLOSE_TIMEOUT_S + 1)
        assert channel.is_aborted

    @pytest.mark.parametrize("how", ["eof", "lost"])
    async def test_the_agent_does_not_take_it(self, story: Story, how: str) -> None:
        story.answer()
        channel = FakeChannel()
        joining = Joining(story.flow, channel)  # type: ignore[arg-type]
        channel.protocol.eof_received() if how == "eof" else channel.protocol.connection_lost(LOST)
        with pytest.raises(ConnectionResetError if how == "eof" else ConnectionAbortedError):
            await joining.done
        assert not story.client.lost.done()
