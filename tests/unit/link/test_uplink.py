"""The uplink between fakes: a pod that may be replaced, connections that fail, stand and break at the test's word."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from ktpy.errors import Forbidden, HostKeyMismatch, KtpyError, LinkLost, PodNotReady
from ktpy.kube.portforward.port_forward import PortForwardNotYet
from ktpy.link.channel import Carried, Link
from ktpy.link.connection import AgentConnection
from ktpy.link.dialer import Dialer
from ktpy.link.key import make_key
from ktpy.link.session import SHADOW_SESSION
from ktpy.link.uplink import AgentPod, Uplink

KEY = "ssh-ed25519 AAAA"
LOST = LinkLost("The link is lost.")


class Connection:
    """Stands until the test says otherwise."""

    def __init__(self, pod: str) -> None:
        self.hello = f"hello of {pod}"
        self.host_key = KEY
        self.link = Link()
        self.ended: asyncio.Future[LinkLost | None] = asyncio.get_running_loop().create_future()

    @property
    def is_closed(self) -> bool:
        return self.ended.done()

    @property
    def reason(self) -> LinkLost | None:
        return self.ended.result()

    async def wait_closed(self) -> LinkLost | None:
        return await asyncio.shield(self.ended)

    def close(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def lose(self, why: LinkLost) -> None:
        self.ended.set_result(why)


class Policy:
    """Dials again `losses` times after a loss, and after each failure that passes; `pauses` are its waits."""

    def __init__(self, losses: int = 0) -> None:
        self.losses = losses
        self.pauses: list[KtpyError] = []
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def dial_failed(self, error: KtpyError, began_s: float) -> None:
        if not error.is_transient:
            raise error
        self.pauses.append(error)
        await self.go_on.wait()

    async def link_lost(self, reason: LinkLost) -> None:
        if self.losses == 0:
            raise reason
        self.losses -= 1
        self.pauses.append(reason)
        await self.go_on.wait()


class Field:
    """What the uplink works in. `pods` is where it leads, one after the other; `failures` are those of dials."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pods: list[str | None] = ["pod-1"]
        self.failures: list[KtpyError] = []
        self.dialled: list[str] = []
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.events: list[object] = []
        self.printed: Callable[[], Awaitable[str | None]] = self.print_key
        self.restart_grace_s = 0.0
        self.may_dial = asyncio.Event()
        self.may_dial.set()
        self.policy = Policy()
        monkeypatch.setattr(AgentConnection, "open", self.open)

    async def print_key(self) -> str | None:
        return KEY

    async def find(self) -> AgentPod | None:
        name = self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]
        if name is None:
            return None
        connector: Any = SimpleNamespace(pod=name)
        return AgentPod(
            name, connector, lambda: self.printed(), "Somebody is between.", restart_grace_s=self.restart_grace_s
        )

    async def hold(self, connection: Any) -> LinkLost | None:
        self.events.append(("up", connection.hello))
        reason = None
        try:
            reason = await connection.wait_closed()
            return reason  # type: ignore[no-any-return]
        finally:
            self.events.append(("down", connection.hello, reason))

    async def open(self, connector: Any, *_: object) -> Any:
        self.dialled.append(connector.pod)
        await self.may_dial.wait()
        if self.failures:
            raise self.failures.pop(0)
        connection = Connection(connector.pod)
        self.connections.put_nowait(connection)
        return connection

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Uplink[Any], "asyncio.Task[None]"]]:
        uplink: Uplink[Any] = Uplink(self.find, make_key(), SHADOW_SESSION, self.policy, hold=self.hold)
        task = asyncio.create_task(uplink.run())
        try:
            async with asyncio.timeout(5):
                yield uplink, task
        finally:
            task.cancel()
            await asyncio.wait({task})
            uplink.close()


@pytest.fixture
async def field(monkeypatch: pytest.MonkeyPatch) -> Field:
    return Field(monkeypatch)


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def dial(uplink: Uplink[Any]) -> None:
    await uplink.create_connection(asyncio.Protocol, "10.0.0.1", 80)


async def test_it_tells_that_it_is_up_and_what_the_agent_said(field: Field) -> None:
    async with field.running() as (uplink, _):
        assert await uplink.wait_up() == "hello of pod-1"
        assert field.events == [("up", "hello of pod-1")]


async def test_a_dial_that_fails_for_now_is_tried_again(field: Field) -> None:
    field.failures = [PortForwardNotYet("no node"), LinkLost("died")]
    not_yet = list(field.failures)
    async with field.running() as (uplink, _):
        await uplink.wait_up()
    assert field.policy.pauses == not_yet
    assert field.events[0] == ("up", "hello of pod-1")
    assert field.dialled == ["pod-1"] * 3


async def test_a_pod_that_is_replaced_meanwhile_is_dialled_in_its_place(field: Field) -> None:
    field.failures = [PodNotReady("The pod is going.")]
    field.pods = ["pod-1", "pod-2"]
    async with field.running() as (uplink, _):
        assert await uplink.wait_up() == "hello of pod-2"
    assert field.dialled == ["pod-1", "pod-2"]


async def test_a_dial_is_given_up_when_its_pod_is_lost_meanwhile(field: Field) -> None:
    field.pods = ["pod-1", "pod-2"]
    field.may_dial.clear()
    async with field.running() as (uplink, _):
        await turns()
        for _ in range(2):
            uplink.lose(LOST)
        await turns(10)
        field.may_dial.set()
        assert await uplink.wait_up() == "hello of pod-2"
    assert (field.dialled, field.policy.pauses) == (["pod-1", "pod-2"], [])


async def test_what_the_policy_does_not_wait_for_ends_it(field: Field) -> None:
    field.failures = [Forbidden("no")]
    async with field.running() as (_, task):
        with pytest.raises(Forbidden):
            await task
    assert len(field.dialled) == 1


async def test_without_a_pod_it_returns(field: Field) -> None:
    field.pods = [None]
    async with field.running() as (_, task):
        await task
    assert field.dialled == []


async def test_a_lost_link_ends_it_where_it_is_not_dialled_again(field: Field) -> None:
    async with field.running() as (uplink, task):
        connection = await field.connections.get()
        await uplink.wait_up()
        connection.ended.set_result(LOST)
        with pytest.raises(LinkLost, match="The link is lost"):
            await task
        with pytest.raises(ConnectionAbortedError, match="The link is lost"):
            await dial(uplink)
    assert field.events[1:] == [("down", "hello of pod-1", LOST)]


async def test_a_lost_link_is_dialled_again_to_the_pod_that_is_there_then(field: Field) -> None:
    field.policy.losses = 1
    field.policy.go_on.clear()
    field.pods = ["pod-1", "pod-2"]
    async with field.running() as (uplink, _):
        first = await field.connections.get()
        await uplink.wait_up()
        first.link.sent_bytes = 3
        first.ended.set_result(LOST)
        await turns()
        field.policy.go_on.set()
        assert await uplink.wait_up() == "hello of pod-2"
        second = await field.connections.get()
        second.link.sent_bytes, second.link.received_bytes = 4, 5
        assert uplink.carried() == Carried(7, 5)
    assert field.events == [
        ("up", "hello of pod-1"),
        ("down", "hello of pod-1", LOST),
        ("up", "hello of pod-2"),
        ("down", "hello of pod-2", None),
    ]


async def test_what_is_dialled_while_no_connection_stands_waits_for_one(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is under way when the link is lost is dialled again over the next."""
    used: list[str] = []

    async def create_connection(dialer: Any, *_: object) -> Any:
        connection = dialer.connection
        used.append(connection.hello)
        if connection.hello == "hello of pod-1":
            await connection.wait_closed()
            raise ConnectionAbortedError
        return None, None

    monkeypatch.setattr(Dialer, "create_connection", create_connection)
    field.policy.losses = 1
    field.pods = ["pod-1", "pod-2"]
    field.may_dial.clear()
    async with field.running() as (uplink, _):
        dialling = asyncio.create_task(dial(uplink))
        await turns()
        assert used == []
        field.may_dial.set()
        first = await field.connections.get()
        await turns()
        assert used == ["hello of pod-1"]
        uplink.lose(LOST)
        await dialling
        assert used == ["hello of pod-1", "hello of pod-2"]
        assert first.reason is LOST


async def test_what_is_dialled_waits_no_longer_than_it_says(field: Field) -> None:
    field.may_dial.clear()
    async with field.running() as (uplink, _):
        with pytest.raises(TimeoutError):
            await uplink.create_connection(asyncio.Protocol, "10.0.0.1", 80, within_s=1)


async def test_what_waits_for_a_connection_is_told_when_there_will_be_none(field: Field) -> None:
    field.may_dial.clear()
    field.failures = [Forbidden("Not allowed.")]
    async with field.running() as (uplink, task):
        dialling = asyncio.create_task(dial(uplink))
        await turns()
        field.may_dial.set()
        with pytest.raises(ConnectionAbortedError, match="Not allowed"):
            await dialling
        with pytest.raises(Forbidden):
            await task


# --- the host key


async def test_another_host_key_ends_it(field: Field) -> None:
    async def other() -> str:
        return "ssh-ed25519 BBBB"

    field.printed = other
    async with field.running() as (_, task):
        with pytest.raises(HostKeyMismatch, match="Somebody is between") as raised:
            await task
    assert raised.value.hint == "Tell whoever runs the cluster."


async def test_another_host_key_of_a_container_that_was_started_again_is_a_lost_link(field: Field) -> None:
    asked = asyncio.Event()

    async def other() -> str:
        asked.set()
        return "ssh-ed25519 BBBB"

    field.printed = other
    field.restart_grace_s = 60
    async with field.running() as (_, task):
        connection = await field.connections.get()
        await asked.wait()
        await turns()
        connection.ended.set_result(LOST)
        with pytest.raises(LinkLost):
            await task


async def test_a_log_that_nobody_may_read_leaves_the_api_servers_word(field: Field) -> None:
    asked = asyncio.Event()

    async def unreadable() -> None:
        asked.set()

    field.printed = unreadable
    async with field.running() as (_, task):
        await asked.wait()
        await turns()
        assert not task.done()


async def test_a_failure_to_read_the_log_is_its_own(field: Field) -> None:
    async def forbidden() -> str:
        raise Forbidden("no")

    field.printed = forbidden
    async with field.running() as (_, task):
        with pytest.raises(Forbidden):
            await task


# --- the end


async def test_closed_it_returns_and_says_so(field: Field) -> None:
    async with field.running() as (uplink, task):
        await uplink.wait_up()
        connection = await field.connections.get()
        uplink.close()
        uplink.close()
        await task
        assert connection.is_closed
        with pytest.raises(ConnectionAbortedError, match="The tunnel is closed"):
            await dial(uplink)
    assert field.events[1:] == [("down", "hello of pod-1", None)]


async def cancelled(task: "asyncio.Task[None]") -> None:
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_while_it_dials(field: Field) -> None:
    field.may_dial.clear()
    async with field.running() as (_, task):
        await cancelled(task)
    assert field.events == []


async def test_cancelled_while_it_waits_for_the_next_attempt(field: Field) -> None:
    field.failures = [PodNotReady("starting")]
    field.policy.go_on.clear()
    async with field.running() as (_, task):
        await cancelled(task)
    assert field.dialled == ["pod-1"]


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_cancelled_while_it_stands_the_connection_is_left_until_it_is_closed(
    field: Field, is_confirmed: bool
) -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    if not is_confirmed:
        field.printed = never
    async with field.running() as (uplink, task):
        await uplink.wait_up()
        connection = await field.connections.get()
        await cancelled(task)
        assert not connection.is_closed
        uplink.close()
        assert connection.is_closed


async def test_cancelled_between_a_lost_link_and_the_next_attempt(field: Field) -> None:
    field.policy.losses = 1
    field.policy.go_on.clear()
    async with field.running() as (_, task):
        (await field.connections.get()).ended.set_result(LOST)
        await cancelled(task)
    assert field.events[-1] == ("down", "hello of pod-1", LOST)
