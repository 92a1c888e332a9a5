"""Lanes between fakes: connections that stand and break at the test's word, over a way as long as the test says."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.errors import LinkLost
from ktpy.link import lanes
from ktpy.link.bulk import BulkWay
from ktpy.link.channel import Carried, Link
from ktpy.link.dialer import Dialer
from ktpy.link.direct import TELL_AFTER_S, DirectWay
from ktpy.link.lanes import (
    AGAIN_AFTER_S,
    FAR_S,
    FIRST_AGAIN_AFTER_S,
    MOST,
    MOST_FALLEN,
    STRIPES,
    Lanes,
    round_trip_s,
)
from ktpy.link.striped_dialer import StripedDialer
from ktpy.wire.session import AgentHello

KEY, OTHER_KEY = "ssh-ed25519 AAAA", "ssh-ed25519 BBBB"


class Connection:
    def __init__(self, host_key: str = KEY, bulk_port: int = 0) -> None:
        self.host_key = host_key
        self.hello = AgentHello("0", (), (), bulk_port=bulk_port)
        self.link = Link()
        self.ended: asyncio.Future[LinkLost | None] = asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> LinkLost | None:
        return await asyncio.shield(self.ended)

    def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Field:
    """Where the lanes lead: `further` are the connections that were dialled, `used` those that flows went over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, direct: DirectWay | None = None, bulk_port: int = 0) -> None:
        self.host_key = KEY
        self.failures: list[LinkLost] = []
        self.further: list[Connection] = []
        self.used: list[Connection] = []
        self.away_s = FAR_S
        self.first = Connection(bulk_port=bulk_port)
        self.direct, self.connectors = direct, set[object]()
        self.lanes = Lanes(self.first, self.dial, direct, lambda port: SimpleNamespace(port=port))  # type: ignore[arg-type]
        monkeypatch.setattr(lanes, "round_trip_s", lambda _: self.away_s)
        field = self

        async def create_connection(dialer: Dialer, *_: object) -> Any:
            connection: Any = dialer.connection
            field.used.append(connection)
            if connection.ended.done():
                raise ConnectionAbortedError
            connection.link.open_channels += 1
            return None, None

        monkeypatch.setattr(Dialer, "create_connection", create_connection)

    async def dial(self, connector: object) -> Any:
        self.connectors.add(connector)
        if self.failures:
            raise self.failures.pop()
        self.further.append(Connection(self.host_key))
        return self.further[-1]

    async def flow(self, number: int = 1) -> None:
        for _ in range(number):
            await self.lanes.create_connection(asyncio.Protocol, "10.0.0.1", 80)

    async def widen(self) -> "asyncio.Task[None]":
        task = asyncio.create_task(self.lanes.widen())
        await turns()
        return task


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def field(monkeypatch: pytest.MonkeyPatch) -> Field:
    return Field(monkeypatch)


async def test_a_pod_that_is_near_has_one_connection(field: Field) -> None:
    field.away_s = FAR_S / 2
    await field.lanes.widen()
    await field.flow(2)
    assert field.further == []
    assert field.used == [field.first, field.first]


async def test_flows_spread_over_the_connections_to_a_pod_that_is_far(field: Field) -> None:
    task = await field.widen()
    await field.flow(2 * MOST)
    assert len(field.further) == MOST - 1
    assert field.used == 2 * [field.first, *field.further]
    task.cancel()
    await asyncio.wait({task})
    assert all(connection.ended.done() for connection in field.further)
    assert not field.first.ended.done()


async def test_a_flow_goes_on_over_another_where_a_further_one_was_lost(field: Field) -> None:
    await field.widen()
    await field.flow()
    lost = field.further[0]
    lost.link.sent_bytes, lost.link.received_bytes = 3, 4
    lost.ended.set_result(LinkLost("gone"))
    await field.flow()
    assert field.used == [field.first, lost, field.further[1]]
    await asyncio.sleep(AGAIN_AFTER_S)
    await turns()
    assert len(field.further) == MOST
    assert field.lanes.carried() == Carried(3, 4)


class BulkFlow:
    def __init__(self) -> None:
        self.ways: list[object] = []
        """The connections that were lent to it, and PAST_SSH."""
        self.is_busy = True


class TestBulk:
    """Which further ways a flow is given that carries bulk over the first connection."""

    PAST_SSH = "past SSH"

    @pytest.fixture
    async def field(self, monkeypatch: pytest.MonkeyPatch) -> Field:
        monkeypatch.setattr(BulkWay, "widen", lambda _, flow: flow.ways.append(self.PAST_SSH) or True)
        monkeypatch.setattr(StripedDialer, "lend", lambda dialer, flow: flow.ways.append(dialer.connection))
        return Field(monkeypatch, bulk_port=2224)

    def tell(self, field: Field, flow: BulkFlow) -> bool:
        dialer = field.lanes._dialers[0]
        assert isinstance(dialer, StripedDialer)
        return dialer._on_bulk(dialer, flow)  # type: ignore[arg-type]

    async def test_near_one_past_ssh(self, field: Field) -> None:
        flows = BulkFlow(), BulkFlow()
        assert all(self.tell(field, flow) for flow in flows)
        assert [flow.ways for flow in flows] == [[self.PAST_SSH], [self.PAST_SSH]]

    async def test_none_where_the_agent_has_no_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        flow = BulkFlow()
        assert not self.tell(Field(monkeypatch), flow)
        assert flow.ways == []

    async def test_far_the_others_while_no_other_flow_carries_any(self, field: Field) -> None:
        await field.widen()
        first, other = BulkFlow(), BulkFlow()
        assert self.tell(field, first)
        assert first.ways == field.further
        assert len(first.ways) == STRIPES
        assert not self.tell(field, other)
        assert self.tell(field, first), "it was idle meanwhile"
        first.is_busy = False
        assert self.tell(field, other)
        assert other.ways == field.further


async def test_bulk_of_a_flow_past_the_api_server_stays_past_it(past: Field) -> None:
    past.away_s = FAR_S
    task = await past.widen()
    ways = past.lanes._direct_dialers
    flow = BulkFlow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StripedDialer, "lend", lambda dialer, flow: flow.ways.append(dialer))
        assert isinstance(ways[0], StripedDialer)
        assert past.lanes._widen_flow(ways[0], flow)  # type: ignore[arg-type]
    assert flow.ways == ways[1:]
    task.cancel()
    await asyncio.wait({task})


async def test_near_bulk_past_the_api_server_needs_no_way_of_its_own(past: Field) -> None:
    past.away_s = FAR_S / 2
    task = await past.widen()
    assert [type(dialer) for dialer in past.lanes._direct_dialers] == [Dialer]
    task.cancel()
    await asyncio.wait({task})


async def test_far_bulk_is_expected_of_every_flow(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    expecting: list[Any] = []
    monkeypatch.setattr(StripedDialer, "expect_bulk", lambda dialer: expecting.append(dialer.connection))
    field.away_s = FAR_S / 2
    await field.lanes.widen()
    assert expecting == []
    field.away_s = FAR_S
    await field.widen()
    assert set(expecting) == {field.first, *field.further}


async def test_the_first_one_that_is_lost_is_the_callers(field: Field) -> None:
    field.first.ended.set_result(LinkLost("gone"))
    with pytest.raises(ConnectionAbortedError):
        await field.flow()


async def test_one_that_cannot_be_made_is_tried_again(field: Field) -> None:
    field.failures = [LinkLost("no")] * (MOST - 1)
    await field.widen()
    assert field.further == []
    await asyncio.sleep(AGAIN_AFTER_S)
    await turns()
    assert len(field.further) == MOST - 1


async def test_one_that_leads_elsewhere_is_not_used(field: Field) -> None:
    field.host_key = OTHER_KEY
    await field.widen()
    await field.flow(2)
    assert field.used == [field.first, field.first]
    assert all(connection.ended.done() for connection in field.further)


class Told(DirectWay):
    """A way past the API server, and what the user is told of it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(self.nowhere, self.said.append, self.said.append)

    async def nowhere(self) -> AsyncIterator[tuple[str, int]]:
        raise AssertionError("the lanes dial")
        yield "", 0


@pytest.fixture
async def past(monkeypatch: pytest.MonkeyPatch) -> Field:
    """Of a pod that is near, with a way past the API server."""
    field = Field(monkeypatch, Told())
    field.away_s = FAR_S / 2
    return field


async def test_flows_go_past_the_api_server_while_there_is_a_way(past: Field) -> None:
    task = await past.widen()
    await past.flow(2)
    assert past.used == 2 * past.further
    assert past.connectors == {past.direct}
    assert past.direct
    assert past.direct.address == ""  # it is up, and nobody has looked for it
    task.cancel()
    await asyncio.wait({task})
    assert past.direct.address is None


async def test_flows_go_through_the_api_server_while_there_is_none(past: Field) -> None:
    past.failures = [LinkLost("closed")]
    await past.widen()
    await past.flow()
    await asyncio.sleep(AGAIN_AFTER_S)
    await turns()
    await past.flow()
    [direct] = past.further
    direct.ended.set_result(LinkLost("silent"))
    await past.flow()
    assert past.used == [past.first, direct, direct, past.first]
    await turns()
    assert isinstance(past.direct, Told)
    assert [sentence.partition(": ")[2] for sentence in past.direct.said] == ["", "silent"]


async def test_a_way_that_there_is_not_is_told_once_it_lasts(past: Field) -> None:
    past.failures = [LinkLost("closed")] * 9
    await past.widen()
    assert isinstance(past.direct, Told)
    assert past.direct.said == []
    await asyncio.sleep(TELL_AFTER_S + AGAIN_AFTER_S)
    await turns()
    assert [sentence.partition(": ")[2] for sentence in past.direct.said] == ["closed"]


async def test_a_way_that_leads_elsewhere_is_not_taken_and_told(past: Field) -> None:
    past.host_key = OTHER_KEY
    await past.widen()
    await past.flow()
    assert past.used == [past.first]
    assert past.further[0].ended.done()
    await asyncio.sleep(TELL_AFTER_S + AGAIN_AFTER_S)
    await turns()
    assert isinstance(past.direct, Told)
    assert "another SSH host key" in past.direct.said[0]


class Held:
    """A keeper of one connection that stays open for ever."""

    def __init__(self, _keep_s: float) -> None:
        self.held: list[Connection] = []
        self.is_closed = False
        keepers.append(self)

    async def hold(self, connection: Connection, until: Callable[[Connection], Awaitable[Any]] | None = None) -> Any:
        self.held.append(connection)
        return await (until(connection) if until else connection.wait_closed())

    async def wait_idle(self) -> None:
        await asyncio.Event().wait()

    def close(self, _why: str) -> None:
        self.is_closed = True


keepers: list[Held] = []


async def test_a_way_that_was_found_is_kept_over_the_first_connection_while_the_agent_has_room(
    past: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "Keeper", Held)
    keepers.clear()
    assert past.direct
    past.direct.is_optional = True
    task = await past.widen()
    for number in range(MOST_FALLEN + 2):
        past.further[number].ended.set_result(LinkLost("gone"))
        await asyncio.sleep(FIRST_AGAIN_AFTER_S)
        await turns()
    assert [keeper.held for keeper in keepers] == [[lost, past.first] for lost in past.further[:MOST_FALLEN]]
    task.cancel()
    await asyncio.wait({task})
    assert all(keeper.is_closed for keeper in keepers)


async def test_the_kernel_knows_how_long_the_way_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection: Any = SimpleNamespace(ssh=SimpleNamespace(get_extra_info=lambda _: client))
        assert 0.0 < round_trip_s(connection) < 1.0


async def test_where_there_is_no_socket_nothing_is_known_of_the_way() -> None:
    connection: Any = SimpleNamespace(ssh=SimpleNamespace(get_extra_info=lambda _: None))
    assert round_trip_s(connection) == 0.0
