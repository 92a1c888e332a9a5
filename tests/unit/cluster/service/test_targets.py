import asyncio
import dataclasses
import socket
from typing import Any

import pytest

from ktpy.cluster.names import GATEWAY
from ktpy.cluster.service import service_state, targets
from ktpy.cluster.service.reference import Reference
from ktpy.errors import NamespaceAbsent, TargetAbsent, TargetAmbiguous, TargetUnsuitable, UsageError
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import essence, furnish, gateway, pod, service
from tests.unit.kube.object_store import DEPLOYMENTS, NAMESPACES, PODS, SERVICES, ObjectStore


async def find(api: Api, text: str) -> str:
    return str((await targets.find(api, Reference.parse(text)))["metadata"]["name"])


def deploy(store: ObjectStore, name: str = "web") -> None:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{}]}}
    store.put(DEPLOYMENTS, {"metadata": {"name": name}, "spec": {"template": template}})


async def test_a_workload_is_found_by_the_service_before_it(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    deploy(store)
    store.put(SERVICES, service("other"))
    assert await find(store_api, "deployment/web") == "web"
    assert await find(store_api, "pod/web-1") == "web"


async def test_also_while_the_service_is_intercepted(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    deploy(store)
    await gateway(store_api, "a").enter()
    assert await find(store_api, "deployment/web") == "web"


async def test_several_services(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    deploy(store)
    store.put(SERVICES, service("web-admin", selector={"app": "web"}))
    with pytest.raises(TargetAmbiguous, match="2 services lead to deployment/web: web, web-admin"):
        await find(store_api, "deployment/web")


async def test_no_service(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    store.put(PODS, pod("lonely", app="lonely"))
    with pytest.raises(TargetAbsent, match="No service of namespace shop leads to pod/lonely"):
        await find(store_api, "pod/lonely")
    with pytest.raises(TargetAbsent) as absent:
        await find(store_api, "wep")
    assert absent.value.hint == "Its services are: web."
    with pytest.raises(TargetAbsent, match="There is no deployment/wep"):
        await find(store_api, "deployment/wep")


LABELS = {"app": "web"}
TEMPLATE = {"metadata": {"labels": LABELS}}
ROLLOUTS = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts"


@pytest.mark.parametrize(
    ("text", "collection", "spec"),
    [
        ("deployment.apps/web", DEPLOYMENTS, {"template": TEMPLATE}),
        ("ds/web", "/apis/apps/v1/namespaces/shop/daemonsets", {"template": TEMPLATE}),
        ("sts/web", "/apis/apps/v1/namespaces/shop/statefulsets", {"template": TEMPLATE}),
        ("rs/web", "/apis/apps/v1/namespaces/shop/replicasets", {"template": TEMPLATE}),
        ("job/web", "/apis/batch/v1/namespaces/shop/jobs", {"template": TEMPLATE}),
        ("cj/web", "/apis/batch/v1/namespaces/shop/cronjobs", {"jobTemplate": {"spec": {"template": TEMPLATE}}}),
        ("rollout/web", ROLLOUTS, {"template": TEMPLATE}),
        ("Rollouts.argoproj.io/web", ROLLOUTS, {"selector": {"matchLabels": LABELS}}),  # with a workloadRef
        ("ro.v1alpha1.argoproj.io/web", ROLLOUTS, {"selector": LABELS}),
    ],
)
async def test_every_kind_with_pods_leads_to_its_service(
    store: ObjectStore, store_api: Api, text: str, collection: str, spec: dict[str, Any]
) -> None:
    furnish(store)
    serve_rollouts(store)
    store.put(collection, {"metadata": {"name": "web"}, "spec": spec})
    assert await find(store_api, text) == "web"


def serve_rollouts(store: ObjectStore) -> None:
    """Let the store be asked for the kinds it serves: one group answers, another one's API server is down."""
    rollout = {"name": "rollouts", "singularName": "rollout", "kind": "Rollout", "shortNames": ["ro"]}
    subresource = {"name": "rollouts/status", "singularName": "", "kind": "Rollout", "namespaced": True}
    store.discovery = {
        "/apis": {
            "groups": [
                {"name": "down.example.org", "preferredVersion": {"version": "v1"}},
                {"name": "argoproj.io", "preferredVersion": {"version": "v1alpha1"}},
            ]
        },
        "/apis/argoproj.io/v1alpha1": {"resources": [subresource, {**rollout, "namespaced": True}]},
    }


@pytest.mark.parametrize("text", ["wizard/web", "rollout.apps/web", "service.serving.knative.dev/web"])
async def test_a_kind_that_is_not_served_is_wrong_usage(store: ObjectStore, store_api: Api, text: str) -> None:
    serve_rollouts(store)
    with pytest.raises(UsageError, match=f"The API server has no kind for {text}") as refused:
        await find(store_api, text)
    assert refused.value.exit_code == 2


async def test_a_kind_without_pods_is_wrong_usage(store: ObjectStore, store_api: Api) -> None:
    serve_rollouts(store)
    store.put(ROLLOUTS, {"metadata": {"name": "web"}, "spec": {"host": "web"}})
    with pytest.raises(UsageError, match="rollout/web does not tell which pods it has"):
        await find(store_api, "rollout/web")


class TestElsewhere:
    @pytest.fixture(autouse=True)
    def other(self, store: ObjectStore) -> None:
        """Service web of namespace shop, seen from another namespace."""
        store.put(NAMESPACES, {"metadata": {"name": "default"}})
        furnish(store)
        deploy(store)

    @pytest.fixture
    def elsewhere(self, store_api: Api) -> Api:
        store_api.target = dataclasses.replace(store_api.target, namespace="default")
        return store_api

    @pytest.mark.parametrize("text", ["web", "deployment/web"])
    async def test_the_namespace_that_has_it_is_named(self, elsewhere: Api, text: str) -> None:
        with pytest.raises(TargetAbsent, match="in namespace default") as absent:
            await find(elsewhere, text)
        assert "shop has one: -n shop." in str(absent.value.hint)

    async def test_unless_the_user_may_not_see_it(self, store: ObjectStore, elsewhere: Api) -> None:
        store.put("/api/v1/namespaces/default/services", service("other"))
        store.forbidden.add("list /api/v1/services")
        with pytest.raises(TargetAbsent) as absent:
            await find(elsewhere, "web")
        assert absent.value.hint == "Its services are: other."

    @pytest.mark.parametrize("text", ["web", "deployment/web"])
    async def test_a_namespace_that_does_not_exist(self, store: ObjectStore, elsewhere: Api, text: str) -> None:
        store.remove(NAMESPACES, "default")
        with pytest.raises(NamespaceAbsent, match="Namespace default does not exist"):
            await find(elsewhere, text)


def test_an_ordinary_service_is_suitable() -> None:
    assert targets.unsuitable(service()) is None


def ours() -> dict[str, Any]:
    found = service()
    found["metadata"]["labels"] = {
        "app.kubernetes.io/managed-by": "ktpy",
        "ktpy.dev/role": "preview",
        "ktpy.dev/owner": "al",
    }
    return found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (service(type="ExternalName", externalName="x.example.org"), r"points to another name \(x.example.org\)"),
        (service(selector={}), "has no selector"),
        (service(ports=[]), "has no ports"),
        (service(ports=[{"port": 1, "protocol": "SCTP"}]), "Port 1 of service web is SCTP"),
        (service(internalTrafficPolicy="Local"), "keeps traffic on each node"),
        (ours(), "is a preview of ktpy, of al"),
    ],
)
def test_unsuitable(found: dict[str, Any], words: str) -> None:
    problem = targets.unsuitable(found)
    assert problem is not None
    with pytest.raises(TargetUnsuitable, match=words):
        raise problem


async def test_headless_with_names_for_its_pods(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_endpoints", lambda _: [{"hostname": "store-0"}])
    with pytest.raises(TargetUnsuitable, match="gives each pod a name of its own"):
        await targets.refuse_unsuitable(store_api, service(clusterIP="None"))
    await targets.refuse_unsuitable(store_api, service())


async def test_headless_without(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    headless = service(clusterIP="None")
    await targets.refuse_unsuitable(store_api, headless)
    assert "is headless" in targets.warnings(headless)[0]


@pytest.mark.parametrize("host", ["127.0.0.9", "::1", "192.0.2.7", "192.0.2.8"])
async def test_a_service_does_not_serve_itself(host: str) -> None:
    found = service(clusterIPs=["127.0.0.9", "::1"], externalIPs=["192.0.2.7"])
    found["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.8"}, {"hostname": "lb.test"}]}}
    with pytest.raises(
        TargetUnsuitable, match=f"^HOST {host} leads to service web itself: its requests would go round"
    ):
        await targets.refuse_loop(found, ["127.0.0.1", host])


async def test_a_host_that_nobody_knows_is_not_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    await targets.refuse_loop(service(clusterIPs=["10.96.0.1"]), ["nobody.test"])


@pytest.mark.parametrize(
    ("labels", "annotations", "manager"),
    [
        ({}, {"argocd.argoproj.io/tracking-id": "shop:/Service:shop/web"}, "Argo CD"),
        ({"kustomize.toolkit.fluxcd.io/name": "shop"}, {}, "Flux"),
        ({"app.kubernetes.io/managed-by": "Helm"}, {}, "Helm"),
        ({}, {"meta.helm.sh/release-name": "shop"}, "Helm"),
        ({"app.kubernetes.io/managed-by": "kubectl"}, {}, None),
    ],
)
def test_who_manages_it(labels: dict[str, str], annotations: dict[str, str], manager: str | None) -> None:
    found = service()
    found["metadata"] |= {"labels": labels, "annotations": annotations}
    assert targets.managed_by(found) == manager
    assert len(targets.warnings(found)) == (manager is not None)


def test_what_depends_on_client_addresses_is_told() -> None:
    found = targets.warnings(service(sessionAffinity="ClientIP", externalTrafficPolicy="Local"))
    assert ["sessionAffinity ClientIP" in found[0], "externalTrafficPolicy Local" in found[1]] == [True, True]


async def test_looking_changes_nothing(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    found = await targets.find(store_api, Reference("service", "web"))
    await targets.refuse_unsuitable(store_api, found)
    assert store.writes == []
    assert essence(store) == before
    assert not targets.selects(found, {GATEWAY: "web"})
    assert service_state.read(found) is None
