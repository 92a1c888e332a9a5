"""Keeping a gateway and giving it back; each runs in a thread, for it brings an event loop of its own."""

import asyncio
from pathlib import Path

import pytest

from ktpy.daemon.caller import Caller
from ktpy.errors import TargetAbsent
from ktpy.kube.client import Api
from ktpy.observe.events import Event, StartStep
from ktpy.sessions import gateway
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import KEEP, AppProtocol, ExposeOption, InterceptOptions
from tests.unit.cluster import gateway_cases
from tests.unit.cluster.gateway_cases import essence, furnish, is_clean
from tests.unit.kube.api_stub import kubeconfig
from tests.unit.kube.object_store import DEPLOYMENTS, SERVICES, ObjectStore


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path) -> ClusterRef:
    return ClusterRef(kubeconfig(tmp_path, store.url, {"token": "t"}))


@pytest.fixture
def caller(tmp_path: Path) -> Caller:
    return Caller(1000, 1000, "al", tmp_path)


async def test_it_comes_and_goes(store: ObjectStore, place: ClusterRef, caller: Caller) -> None:
    before = furnish(store)
    told: list[Event] = []
    options = InterceptOptions(KEEP, "web", (), place.kubeconfig, image="agent:1")
    kept = await asyncio.to_thread(gateway.keep, options, caller, told.append)
    assert [one.detail for one in told if isinstance(one, StartStep)][:2] == [
        "claim a lease",
        "create the origin service",
    ]
    [keeper] = kept["sessions"]
    assert (kept["service"], kept["is_new"], kept["image"], kept["wanted_image"]) == ("web", True, "agent:1", "agent:1")
    assert (keeper["is_keeper"], keeper["kind"]) == (True, "keep")
    again = await asyncio.to_thread(gateway.keep, options, caller, told.append)
    assert (again["is_new"], again["sessions"]) == (False, [keeper])
    released = await asyncio.to_thread(gateway.release, place, "web", caller, told.append)
    assert [one["session"] for one in released["released"]] == [keeper["session"]]
    assert released["sessions"] == []
    assert essence(store) == before
    assert is_clean(store)


async def test_a_port_of_which_the_service_does_not_say_that_it_is_http(
    store: ObjectStore, place: ClusterRef, caller: Caller
) -> None:
    furnish(store)
    store.put(SERVICES, gateway_cases.service(ports=[{"name": "api", "port": 8080, "targetPort": 8080}]))
    wanted = (ExposeOption(0, "api"),)
    options = InterceptOptions(KEEP, "web", wanted, place.kubeconfig, protocol=AppProtocol.HTTP, image="agent:1")
    await asyncio.to_thread(gateway.keep, options, caller, lambda _: None)
    template = (store.get(DEPLOYMENTS, "web-ktpy-gateway") or {})["spec"]["template"]
    assert '"http":true' in template["metadata"]["annotations"]["ktpy.dev/gateway"].replace(" ", "")


async def test_who_shares_it(store: ObjectStore, store_api: Api, place: ClusterRef) -> None:
    furnish(store)
    await gateway_cases.gateway(store_api, "a", "al@x").enter()
    found = await asyncio.to_thread(gateway.who, place, "web")
    assert (found["service"], found["namespace"], found["is_redirected"]) == ("web", "shop", True)
    [one] = found["sessions"]
    assert one.pop("since")
    assert one == {
        "session": "a",
        "owner": "al@x",
        "description": "exchange of port 80",
        "is_live": True,
        "is_keeper": False,
        "local_down": [],
        "kind": "exchange",
        "ports": [80],
        "match": None,
    }


async def test_the_gateway_of_a_service_that_is_gone_is_given_back_all_the_same(
    store: ObjectStore, place: ClusterRef, caller: Caller
) -> None:
    furnish(store)
    options = InterceptOptions(KEEP, "web", (), place.kubeconfig, image="agent:1")
    await asyncio.to_thread(gateway.keep, options, caller, lambda _: None)
    store.remove(SERVICES, "web")
    await asyncio.to_thread(gateway.release, place, "web", caller, lambda _: None)
    assert (store.names(SERVICES), store.names(DEPLOYMENTS)) == ([], [])
    with pytest.raises(TargetAbsent):
        await asyncio.to_thread(gateway.who, place, "web")
