from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktpy.cluster.names import MANAGED_BY, ROLE
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.completion import cluster
from ktpy.errors import UsageError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.api_stub import Answer, ApiStub, forbidding, kubeconfig, listed
from tests.unit.kube.object_store import ObjectStore

CORE = "/api/v1/namespaces/shop"
PORTS = [{"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}, {"port": 9, "protocol": "SCTP"}]
SELECTED = {"app": "web"}


def item(name: str, role: str = "", **spec: Any) -> Json:
    labels = {MANAGED_BY: "ktpy", ROLE: role} if role else {}
    return {"metadata": {"name": name, "namespace": "shop", "uid": name, "labels": labels}, "spec": spec}


@pytest.fixture
def ask(stub: ApiStub, tmp_path: Path) -> Callable[..., Any]:
    config = kubeconfig(tmp_path, stub.url)
    return lambda what, of="": cluster.ask(what, of, kubeconfig=config, context=None, namespace=None)


def test_services_have_the_ports_that_ktpy_carries_and_are_not_its_own(stub: ApiStub, ask: Callable[..., Any]) -> None:
    present = [item("web", ports=PORTS), item("web-ktpy-origin", "origin", ports=PORTS), item("demo", "preview")]
    stub.script(f"GET {CORE}/services", listed(*present))
    assert ask("services") == {"web": ["80", "http", "53/udp"], "demo": []}


def test_contexts_are_asked_of_nobody(stub: ApiStub, ask: Callable[..., Any]) -> None:
    assert ask("contexts") == ["stub"]
    assert not stub.asked


def test_who_may_not_list_namespaces_gets_those_of_the_contexts(stub: ApiStub, ask: Callable[..., Any]) -> None:
    stub.script("GET /api/v1/namespaces", listed(item("shop"), item("other")), forbidding())
    assert ask("namespaces") == ["shop", "other"]
    assert ask("namespaces") == ["shop"]


async def test_workloads_of_a_kind_by_any_of_its_names(stub: ApiStub, api: Api) -> None:
    deployments = listed(item("web"), item("web-ktpy-gateway", "gateway"))
    stub.script("GET /apis/apps/v1/namespaces/shop/deployments", deployments)
    for kind in ("deployment", "deploy", "deployments.apps"):
        assert await cluster._ASK["workloads"](api, kind) == ["web"]
    for kind in ("rollout", "service"):
        with pytest.raises(UsageError):
            await cluster._ASK["workloads"](api, kind)


async def test_the_ports_of_a_workload_are_those_of_its_service(stub: ApiStub, api: Api) -> None:
    pod = item("web-0") | {"metadata": {"name": "web-0", "labels": SELECTED}}
    stub.script(f"GET {CORE}/pods/web-0", Answer(pod))
    stub.script(f"GET {CORE}/services", listed(item("web", ports=PORTS, selector=SELECTED)))
    assert await cluster._ASK["ports"](api, "pod/web-0") == ["80", "http", "53/udp"]


async def test_headers_and_versions_are_those_of_live_meshes(store: ObjectStore, store_api: Api) -> None:
    headers = [{"name": "VERSION", "exact": "al"}, {"name": "x-user", "regex": "^a"}]
    for session, details in (("a", {"match": {"headers": headers}}), ("b", {"match": None}), ("c", None)):
        await OwnLease(store_api, session=session, owner="al@x", target="web", details=details).claim()
    assert await cluster._ASK["headers"](store_api, "") == ["VERSION=al", "x-user=~^a"]
    assert await cluster._ASK["versions"](store_api, "") == ["al"]
    store.pass_time(3600)
    assert await cluster._ASK["headers"](store_api, "") == []
