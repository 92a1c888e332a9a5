"""Port-forwards for bulk, between fakes: who joins a flow, how many there are, and what becomes of them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ktpy.errors import LinkLost
from ktpy.link.bulk import AGAIN_AFTER_S, MOST, BareChannel, BulkWay
from ktpy.link.channel import Link
from ktpy.link.connection import OPEN_TIMEOUT_S
from ktpy.wire.stripes import answer


class Flow:
    """One that carries bulk."""

    def __init__(self) -> None:
        self.joined: list[BareChannel] = []
        self.is_over = False
        self.told = 0
        self.received, self.lost = b"", None
        self.may_write = True

    def stripe_opening(self) -> bytes:
        return b"opening"

    def join(self, channel: BareChannel) -> None:
        self.joined.append(channel)
        channel.set_protocol(self)  # type: ignore[arg-type]

    def may_widen_again(self) -> None:
        self.told += 1

    def views_received(self, views: Iterable[bytes | memoryview]) -> None:
        self.received += b"".join(views)

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = True

    def connection_lost(self, exc: Any) -> None:
        self.lost = exc


class Forward(asyncio.Transport):
    """The port-forward of a channel."""

    def __init__(self, channel: BareChannel) -> None:
        super().__init__()
        self.channel = channel
        self.written = b""
        self.is_read = True
        self.is_aborted = False

    def writelines(self, pieces: Any) -> None:
        self.written += b"".join(pieces)

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 9

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            asyncio.get_running_loop().call_soon(self.channel.connection_lost, None)


class Field:
    def __init__(self) -> None:
        self.forwards: list[Forward] = []
        self.failure: Exception | None = None
        self.link = Link()
        self.way = BulkWay(self, self.link)
        self.flow = Flow()

    async def create_connection(self, factory: Callable[[], Any], _host: str, _port: int) -> Any:
        if self.failure:
            raise self.failure
        channel = factory()
        self.forwards.append(Forward(channel))
        channel.connection_made(self.forwards[-1])
        return self.forwards[-1], channel

    async def widen(self) -> bool:
        widened = self.way.widen(self.flow)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return widened

    async def joined(self) -> Forward:
        assert await self.widen()
        self.forwards[-1].channel.data_received(answer(0))
        await asyncio.sleep(0)
        return self.forwards[-1]


@pytest.fixture
async def field() -> Field:
    return Field()


async def test_it_joins_once_the_agent_lets_it(field: Field) -> None:
    assert await field.widen()
    [forward] = field.forwards
    assert forward.written == b"opening"
    assert field.flow.joined == []
    forward.channel.data_received(answer(0))
    assert field.flow.joined == [forward.channel]
    await asyncio.sleep(0)
    assert (field.link.bulk_ways, field.link.bulk_refused) == (1, 0)
    forward.channel.data_received(b"more")
    assert field.flow.received == b"more"


async def test_bytes_are_counted_and_pauses_are_passed_on(field: Field) -> None:
    forward = await field.joined()
    forward.channel.writelines([b"one", memoryview(b"two")])
    forward.channel.write(b"three")
    assert forward.written == b"openingonetwothree"
    assert field.link.sent_bytes == len("openingonetwothree")
    assert field.link.received_bytes == 4
    forward.channel.pause_writing()
    assert not field.flow.may_write
    forward.channel.resume_writing()
    assert field.flow.may_write
    forward.channel.pause_reading()
    assert not forward.is_read
    forward.channel.resume_reading()
    assert forward.is_read
    assert (forward.channel.get_write_buffer_size(), forward.channel.room_bytes) == (9, -9)


async def test_it_is_lost(field: Field) -> None:
    forward = await field.joined()
    forward.channel.connection_lost(LinkLost("the API server is gone"))
    assert isinstance(field.flow.lost, ConnectionResetError)
    assert "the API server is gone" in str(field.flow.lost)


async def test_there_are_so_many_at_most(field: Field) -> None:
    for _ in range(MOST):
        assert await field.widen()
    assert not await field.widen()
    field.forwards[0].channel.data_received(answer(0))
    field.forwards[0].channel.connection_lost(None)
    await asyncio.sleep(0)
    assert await field.widen()


@pytest.mark.parametrize("failure", [LinkLost("forbidden"), OSError("no room")])
async def test_one_that_cannot_be_opened_is_tried_again_later(field: Field, failure: Exception) -> None:
    field.failure = failure
    assert await field.widen()
    assert field.flow.told == 1
    assert (field.link.bulk_ways, field.link.bulk_refused) == (0, 1)
    field.failure = None
    assert not await field.widen()
    await asyncio.sleep(AGAIN_AFTER_S)
    assert await field.widen()


async def test_an_agent_that_has_forgotten_a_flow_that_is_over(field: Field) -> None:
    field.flow.is_over = True
    await field.widen()
    field.forwards[0].channel.connection_lost(None)
    await asyncio.sleep(0)
    assert await field.widen(), "another flow's bulk need not wait"


async def test_an_agent_that_turns_it_away(field: Field) -> None:
    await field.widen()
    field.forwards[0].channel.connection_lost(None)
    await asyncio.sleep(0.01)
    assert (field.flow.told, field.flow.joined) == (1, [])


async def test_an_agent_that_does_not_answer(field: Field) -> None:
    await field.widen()
    await asyncio.sleep(OPEN_TIMEOUT_S + 1)
    assert field.forwards[0].is_aborted
    assert field.flow.told == 1
