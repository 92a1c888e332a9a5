"""Which channel a connection begins on, between fakes."""

import asyncio
from typing import Any

import pytest

from ktpy.link import striped_dialer
from ktpy.link.channel import Link
from ktpy.link.dialer import Dialer
from ktpy.link.striped_dialer import AHEAD, EXPECTED, MOST_BULKY, StripedDialer
from ktpy.link.striped_flow import StripedFlow
from ktpy.wire.session import AgentHello
from ktpy.wire.stripes import WIDE_AFTER_BYTES, answer
from tests.component.link.shadow import Client
from tests.unit.link.test_striped_flow import FakeChannel


class Connection:
    def __init__(self) -> None:
        self.hello = AgentHello("0", (), (), bulk_port=2224)
        self.link = Link()


class OpenChannel(FakeChannel):
    """One that the agent answers on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.is_over = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.written) == len(data):
            asyncio.get_running_loop().call_soon(self.protocol.data_received, answer(0))

    def is_closing(self) -> bool:
        return self.is_over


class Field:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[OpenChannel] = []
        self.dialled_by_sshd = 0
        self.failure: Exception | None = None
        self.bulk: list[StripedFlow] = []
        self.connection = Connection()
        connection: Any = self.connection
        self.dialer = StripedDialer(connection, self._has_bulk)
        monkeypatch.setattr(striped_dialer, "Channel", lambda *of: NoticingChannel(of[3]) if of[3:] else OpenChannel())
        monkeypatch.setattr(striped_dialer, "open_channel", self._open)
        field = self

        async def create_connection(*_: object) -> Any:
            field.dialled_by_sshd += 1
            return None, None

        monkeypatch.setattr(Dialer, "create_connection", create_connection)

    def _has_bulk(self, dialer: StripedDialer, flow: StripedFlow) -> bool:
        assert dialer is self.dialer
        self.bulk.append(flow)
        return True

    async def _open(self, connection: Any, channel: Any) -> None:
        assert connection is self.connection
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        self.connection.link.open_channels += 1
        self.opened.append(channel)

    async def dial(self, port: int = 80) -> Any:
        return (await self.dialer.create_connection(Client, "10.0.0.1", port))[0]

    async def prepare(self) -> None:
        self.dialer.expect_bulk()
        await turns()

    async def carry_bulk(self, port: int = 80) -> None:
        """Over a channel that sshd has connected."""
        channel = self.dialer._channel(Client, "10.0.0.1", port)
        assert isinstance(channel, NoticingChannel)
        channel.on_bulk("10.0.0.1", port)
        await turns()


class NoticingChannel:
    """One to sshd."""

    def __init__(self, on_bulk: Any) -> None:
        self.on_bulk = on_bulk


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def field(monkeypatch: pytest.MonkeyPatch) -> Field:
    return Field(monkeypatch)


async def test_sshd_connects_until_channels_wait(field: Field) -> None:
    await field.dial()
    assert (field.dialled_by_sshd, field.opened) == (1, [])


async def test_channels_wait_and_another_takes_the_place_of_each_that_is_taken(field: Field) -> None:
    await field.prepare()
    assert (len(field.opened), field.dialer.busy) == (AHEAD, 0)
    assert isinstance(await field.dial(), StripedFlow)
    await turns()
    assert (len(field.opened), field.dialer.busy, field.dialled_by_sshd) == (AHEAD + 1, 1, 0)


async def test_sshd_connects_where_none_waits(field: Field) -> None:
    await field.prepare()
    await asyncio.gather(*(field.dial() for _ in range(AHEAD + 2)))
    assert field.dialled_by_sshd == 2


async def test_an_agent_that_does_not_know_of_it(field: Field) -> None:
    field.connection.hello = AgentHello("0", (), ())
    await field.prepare()
    await field.dial()
    assert (field.dialled_by_sshd, field.opened) == (1, [])


async def test_a_channel_that_cannot_be_opened_is_not_tried_again(field: Field) -> None:
    field.failure = OSError("no room")
    await field.prepare()
    field.failure = None
    await field.dial()
    await turns()
    assert (field.dialled_by_sshd, field.opened) == (1, [])


async def test_a_channel_that_has_ended_while_it_opened_is_not_used(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenChannel, "is_closing", lambda _: True)
    await field.prepare()
    await field.dial()
    assert field.dialled_by_sshd == 1


async def test_the_relay_ends_before_it_answers(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(channel: OpenChannel, _data: bytes) -> None:
        asyncio.get_running_loop().call_soon(channel.protocol.eof_received)

    await field.prepare()
    monkeypatch.setattr(OpenChannel, "write", end)
    monkeypatch.setattr(field.dialer, "_ahead", 0)
    await field.dial()
    assert field.dialled_by_sshd == 1


async def test_whoever_gives_up_ends_the_channel(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenChannel, "write", FakeChannel.write)
    await field.prepare()
    dialling = asyncio.create_task(field.dial())
    await turns()
    dialling.cancel()
    await asyncio.wait({dialling})
    assert [channel.is_aborted for channel in field.opened].count(True) == 1


async def test_a_flow_that_carries_bulk_is_told_of(field: Field) -> None:
    await field.prepare()
    flow = await field.dial()
    flow.write(bytes(WIDE_AFTER_BYTES))
    assert field.bulk == [flow]


async def test_where_bulk_was_carried_it_is_expected(field: Field) -> None:
    await field.carry_bulk()
    assert not isinstance(await field.dial(81), StripedFlow)
    for _ in range(EXPECTED):
        assert isinstance(await field.dial(), StripedFlow)
        await turns()
    assert not isinstance(await field.dial(), StripedFlow), "none has carried any since"


async def test_bulk_on_the_agents_way_is_expected_again(field: Field) -> None:
    await field.carry_bulk()
    for _ in range(EXPECTED):
        (await field.dial()).write(bytes(WIDE_AFTER_BYTES))
        await turns()
    assert isinstance(await field.dial(), StripedFlow)


async def test_where_bulk_is_expected_and_none_waits_one_is_opened(field: Field) -> None:
    await field.carry_bulk()
    flows = await asyncio.gather(*(field.dial() for _ in range(AHEAD + 2)))
    assert all(isinstance(flow, StripedFlow) for flow in flows)


async def test_so_many_places_are_remembered(field: Field) -> None:
    for port in range(MOST_BULKY + 1):
        await field.carry_bulk(port)
    assert isinstance(await field.dial(1), StripedFlow)
    assert not isinstance(await field.dial(0), StripedFlow)


@pytest.mark.parametrize("waits", [True, False])
async def test_another_connection_is_lent(field: Field, waits: bool) -> None:
    if waits:
        await field.prepare()
    flow = StripedFlow(Client, ("10.0.0.1", 80), lambda _: True, lambda _: None)
    flow.begin(FakeChannel())  # type: ignore[arg-type]
    opened = len(field.opened)
    field.dialer.lend(flow)
    await turns()
    assert len(flow._stripes) == 2
    assert len(field.opened) == opened + 1, "it is opened, or another in its place"
