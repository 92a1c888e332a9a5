"""The routes of an intercept, as far as it takes no cluster; the rest: e2e/test_intercept_*.py."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from ktpy.cluster.changes.gateway_pods import GatewayPod
from ktpy.errors import ApiUnreachable, PodNotReady, RouteTaken
from ktpy.link.connection import AgentConnection
from ktpy.link.key import make_key
from ktpy.link.route import RouteNotYet
from ktpy.serve.exposure import Exposure
from ktpy.serve.routes import Routes
from ktpy.wire.route import RouteHello, RouteRequest

POD = GatewayPod("web-ktpy-gateway-1", "uid-1", ssh_port=2222)


class Pods:
    """In place of GatewayPods: one pod, or none, for ever."""

    def __init__(self, *pods: GatewayPod) -> None:
        self._pods = pods

    async def follow(self) -> AsyncGenerator[tuple[GatewayPod, ...], None]:
        yield self._pods
        await asyncio.Event().wait()


class NoApi:
    namespace = "shop"

    async def endpoint(self) -> None:
        raise ApiUnreachable("There is none.")


def made(*pods: GatewayPod, timeout_s: float = 0.3) -> Routes:
    hello = RouteHello("a", "amy", (RouteRequest(80),))
    exposure = Exposure((), "the original pods", lambda _: None)
    return Routes(NoApi(), Pods(*pods), make_key(), hello, exposure, timeout_s)  # type: ignore[arg-type]


async def first(made: Routes) -> None:
    """Run them until the first one stands."""
    async with asyncio.TaskGroup() as work:
        running = work.create_task(made.run())
        await made.first()
        running.cancel()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> "Callable[[Exception], list[None]]":
    """Let every attempt to open a route fail in this way; what is given back counts them."""

    def fail_with(error: Exception) -> list[None]:
        attempts: list[None] = []

        async def fail(*_: Any) -> AgentConnection[Any]:
            attempts.append(None)
            raise error

        monkeypatch.setattr(AgentConnection, "open", fail)
        return attempts

    return fail_with


async def test_without_any_pod_the_wait_ends() -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(PodNotReady, match=r"^No route into the gateway stood within 0\.3 s\. None of its pods")
    ):
        await first(made())


async def test_what_passes_is_tried_again_and_named_in_the_end(
    opened: "Callable[[Exception], list[None]]",
) -> None:
    attempts = opened(RouteNotYet("This gateway of web is about to end."))
    with pytest.RaisesGroup(pytest.RaisesExc(PodNotReady, match="This gateway of web is about to end")):
        await first(made(POD))
    assert len(attempts) > 1


async def test_what_is_taken_is_not_tried_again(opened: "Callable[[Exception], list[None]]") -> None:
    """It is raised as itself, for who knows better what to do about it."""
    attempts = opened(RouteTaken("Port 80 is exchanged by bob already."))
    async with asyncio.timeout(10):
        with pytest.raises(RouteTaken):
            await made(POD).run()
    assert len(attempts) == 1
