import asyncio
import errno

import pytest

from ktpy.errors import LinkLost
from ktpy.fuse.volume_channel import Reopen, VolumeChannel
from ktpy.wire.volume import VERSION, MessageParser, packed


class Agent:
    """An Agent is the other end of a channel, by hand."""

    def __init__(self, volume: VolumeChannel, version: int = VERSION) -> None:
        self._reader, self._parser = asyncio.StreamReader(), MessageParser()
        self.asked = asyncio.Queue[list[object]]()
        self.is_broken = False
        self.running = asyncio.ensure_future(volume.run(self._reader, self))
        self.say([0, 0, version])

    def say(self, head: list[object], data: bytes = b"") -> None:
        self._reader.feed_data(packed(head, data))

    def end(self) -> None:
        self._reader.feed_eof()

    def write(self, data: bytes, /) -> None:
        if self.is_broken:
            raise BrokenPipeError
        for head, _ in self._parser.feed(data):
            self.asked.put_nowait(head)

    async def drain(self) -> None:
        raise AssertionError("requests are not held up")


@pytest.fixture
def volume() -> VolumeChannel:
    return VolumeChannel()


async def test_answers_find_who_asked(volume: VolumeChannel) -> None:
    agent = Agent(volume)
    one, other = (asyncio.ensure_future(volume.ask("stat", path)) for path in ("a", "b"))
    first, second = [await agent.asked.get() for _ in range(2)]
    agent.say([second[0], 0, "of b"], b"data")
    agent.say([first[0], errno.ENOENT])
    assert await other == (["of b"], b"data", 1)
    with pytest.raises(FileNotFoundError):
        await one
    agent.end()
    with pytest.raises(LinkLost):
        await agent.running


async def lost(volume: VolumeChannel, agent: Agent) -> None:
    agent.end()
    with pytest.raises(LinkLost):
        await agent.running
    assert not volume.is_up


async def test_it_is_asked_again_over_the_next_channel(volume: VolumeChannel) -> None:
    agent = Agent(volume)
    asking = asyncio.ensure_future(volume.ask("stat", "a"))
    await agent.asked.get()
    await lost(volume, agent)
    agent = Agent(volume)
    number, *asked = await agent.asked.get()
    agent.say([number, 0, "here"])
    assert (asked, await asking) == (["stat", "a"], (["here"], b"", 2))


async def test_what_may_have_been_done_is_not_asked_again(volume: VolumeChannel) -> None:
    agent = Agent(volume)
    asking = asyncio.ensure_future(volume.ask("unlink", "a", is_once=True))
    await agent.asked.get()
    await lost(volume, agent)
    with pytest.raises(OSError, match="lost meanwhile"):
        await asking


async def test_a_link_that_stays_lost_is_an_error_in_the_end(volume: VolumeChannel) -> None:
    with pytest.raises(OSError, match="the link to the pod is lost") as raised:
        await volume.ask("stat", "a")
    assert raised.value.errno == errno.EIO


async def test_files_of_a_channel_that_has_ended_are_to_be_opened_again(volume: VolumeChannel) -> None:
    await lost(volume, await up(volume))
    await up(volume)
    with pytest.raises(Reopen):
        await volume.ask("read", 3, 0, 10, epoch=1)


async def up(volume: VolumeChannel) -> Agent:
    agent = Agent(volume)
    await volume.wait_up()
    return agent


async def test_a_channel_that_takes_nothing_is_given_up(volume: VolumeChannel) -> None:
    agent = await up(volume)
    agent.is_broken = True
    asking = asyncio.ensure_future(volume.ask("stat", "a"))
    await lost(volume, agent)
    agent = Agent(volume)
    number, *_ = await agent.asked.get()
    agent.say([number, 0])
    assert await asking == ([], b"", 2)


async def test_an_agent_of_another_kind_is_refused(volume: VolumeChannel) -> None:
    agent = Agent(volume, VERSION + 1)
    with pytest.raises(ValueError, match="another version"):
        await agent.running
