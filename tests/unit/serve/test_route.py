"""The route from one pod, as far as it takes no cluster; the rest: e2e/test_intercept_*.py."""

from typing import Any

import pytest

from ktpy.cluster.changes.gateway_pods import GatewayPod
from ktpy.errors import KtpyError, RouteTaken
from ktpy.kube.portforward.port_forward import PortForward
from ktpy.kube.refusals import NotFound
from ktpy.link.connection import AgentConnection
from ktpy.link.key import make_key
from ktpy.link.route import RouteNotYet
from ktpy.serve.exposure import Exposure
from ktpy.serve.route import PodRoute
from ktpy.wire.route import RouteHello, RouteRequest


class NoApi:
    endpoint, namespace = None, "shop"


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What attempts to open the route fail with, one after the other."""
    to_come: list[Exception] = []

    async def fail(*_: Any) -> AgentConnection[Any]:
        raise to_come.pop(0)

    monkeypatch.setattr(AgentConnection, "open", fail)
    return to_come


def route(told: list[str], *, is_staying: bool = True) -> PodRoute:
    def tell(error: KtpyError) -> None:
        told.append(error.message)

    pod = GatewayPod("web-ktpy-gateway-1", "uid-1", ssh_port=2222)
    hello = RouteHello("a", "amy", (RouteRequest(80),))
    exposure = Exposure((), "the original pods", lambda _: None)
    forward = PortForward(NoApi(), "shop", pod.name, pod.ssh_port)  # type: ignore[arg-type]
    return PodRoute(NoApi(), pod, forward, make_key(), hello, exposure, lambda: is_staying, lambda: None, tell)  # type: ignore[arg-type]


async def test_it_is_over_with_the_pod(failures: list[Exception]) -> None:
    """What was in the way before has been told."""
    told: list[str] = []
    failures += [RouteNotYet("This gateway of web is about to end."), NotFound("There is no such pod.")]
    await route(told).hold()
    assert told == ["This gateway of web is about to end."]


async def test_a_pod_on_its_way_out_is_not_dialled(failures: list[Exception]) -> None:
    failures.append(RouteTaken("Port 80 is exchanged by bob already."))
    await route([], is_staying=False).hold()
    assert len(failures) == 1


async def test_what_will_not_pass_ends_it(failures: list[Exception]) -> None:
    failures.append(RouteTaken("Port 80 is exchanged by bob already."))
    with pytest.raises(RouteTaken):
        await route([]).hold()
