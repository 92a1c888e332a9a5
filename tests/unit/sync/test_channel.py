import asyncio

import pytest

from ktpy.errors import LinkLost, SyncFailed
from ktpy.sync.channel import Channel, reason
from ktpy.wire.sync import frames
from ktpy.wire.sync.frames import Result


class Writer:
    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes, /) -> None:
        self.sent += data

    async def drain(self) -> None:
        pass


class BrokenWriter(Writer):
    async def drain(self) -> None:
        raise BrokenPipeError


def channel(*data: bytes, writer: Writer | None = None) -> Channel:
    reader = asyncio.StreamReader()
    for one in data:
        reader.feed_data(one)
    reader.feed_eof()
    return Channel(reader, writer or Writer())


async def test_hello_tells_the_folder_the_clocks_and_the_case() -> None:
    hello = frames.said(frames.HELLO, version=frames.VERSION, time_ns=0, root="mark", folds_case=True)
    made = channel(hello + frames.frame(frames.TOLD))
    root, offset_s, folds_case = await made.greet({})
    assert (root, folds_case) == ("mark", True)
    assert offset_s < -1e9
    assert await made.receive() == [(frames.TOLD, b"")]
    with pytest.raises(LinkLost, match="ended"):
        await made.receive()


async def test_an_agent_of_another_version_is_refused() -> None:
    with pytest.raises(SyncFailed, match="another version"):
        await channel(frames.said(frames.HELLO, version=99)).greet({})


async def test_a_channel_that_breaks_is_a_lost_link() -> None:
    with pytest.raises(LinkLost):
        await channel(writer=BrokenWriter()).send(b"x")


async def test_an_answer_finds_its_request() -> None:
    made = channel()
    answers: list[bytes] = []

    def answered(_: int, payload: bytes) -> bool:
        answers.append(payload)
        return True

    first = made.number(answered)
    second = made.number(lambda kind, payload: True)
    waiting = asyncio.create_task(made.answered(second))
    payload = frames.after_number(frames.numbered(0, first)[5:])
    made.answer(frames.RESULT, frames.numbered(0, first)[5:])
    assert (payload, len(answers)) == (b"", 1)
    idle = asyncio.create_task(made.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    made.forget(second)
    await asyncio.gather(idle, waiting)
    with pytest.raises(ValueError, match="nobody"):
        made.answer(frames.RESULT, frames.numbered(0, first)[5:])


async def test_a_channel_that_ends_lets_go_who_waits_for_an_answer() -> None:
    made = channel()
    looking = asyncio.create_task(made.looked_through({}))
    await asyncio.sleep(0)
    assert not looking.done()
    made.end()
    await asyncio.gather(looking, made.idle())


@pytest.mark.parametrize(("code", "word"), [(28, "full"), (84, "UTF-8"), (40, "link"), (13, "Permission denied")])
def test_a_failure_has_a_clear_word(code: int, word: str) -> None:
    assert word in reason(Result(1, frames.FAILED, None, b"%d" % code))
