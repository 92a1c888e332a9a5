"""A Service in an object store, and people who intercept it."""

from typing import Any

from ktpy.cluster.changes import sweep
from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.changes.preview import PREVIEW
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import PortMapping
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

ENTRY_STEPS = 6
"""Of an exchange, of a mesh, and of who keeps a gateway."""
KEY = "ssh-ed25519 AAAA"


def service(name: str = "web", *, selector: Json | None = None, **spec: Any) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-of-{name}",
            "resourceVersion": "1",
            "labels": {"team": "a"},
            "annotations": {"note": "kept"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "10.96.0.1",
            "selector": {"app": name} if selector is None else selector,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}],
            **spec,
        },
    }


def pod(name: str = "web-1", **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": labels or {"app": "web"}}, "spec": {"containers": [{}]}}


def furnish(store: ObjectStore) -> Json:
    """Service web with a pod; the answer is what must be there again in the end."""
    store.put(PODS, pod())
    store.put(SERVICES, service())
    return essence(store)


def essence(store: ObjectStore) -> Json:
    """What a Service is, without versions and times."""
    found = store.get(SERVICES, "web")
    assert found is not None
    metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations", "uid")}
    return {"metadata": metadata, "spec": found["spec"]}


def identity(session: str, owner: str | None = None) -> SessionIdentity:
    return SessionIdentity(session, owner or session, KEY)


def plan(name: str = "web", *ports: PortMapping, kind: str = "exchange", **options: Any) -> InterceptPlan:
    """A plan whose options are as on the command line, as far as they count in the cluster."""
    asked = InterceptOptions(kind, name, (), image="agent:1", **options)
    return InterceptPlan(asked, Interceptee("shop", name), ports)


def gateway(
    api: Api,
    session: str,
    owner: str | None = None,
    *,
    exposed: tuple[PortMapping, ...] = (PortMapping(3001, 80),),
    **options: Any,
) -> ClusterChange:
    return GATEWAY.change(api, plan("web", *exposed, **options), identity(session, owner), lambda _: None)


def of_version(store: ObjectStore, version: int) -> None:
    """Make the gateway one of a ktpy that speaks this version."""
    deployment = store.get(DEPLOYMENTS, "web-ktpy-gateway")
    assert deployment is not None
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    annotations["ktpy.dev/gateway"] = annotations["ktpy.dev/gateway"].replace('"version":1', f'"version":{version}')
    store.put(DEPLOYMENTS, deployment)


def preview(
    api: Api, session: str, *exposed: PortMapping, name: str = "pay", owner: str | None = None, **options: Any
) -> ClusterChange:
    made = plan(name, *exposed, kind="preview", **options)
    return PREVIEW.change(api, made, identity(session, owner or f"{session}@x"), lambda _: None)


def is_clean(store: ObjectStore) -> bool:
    """Whether nothing of ktpy's is left."""
    return (
        store.names(SERVICES) == ["web"]
        and store.names(DEPLOYMENTS) == []
        and store.names(LEASES) == []
        and store.names(PODS) == ["web-1"]
    )


def assert_as_before(store: ObjectStore, before: Json) -> None:
    assert essence(store) == before
    assert is_clean(store)


async def clean_all(store: ObjectStore, api: Api, before: Json) -> None:
    """The dead have left something, and the service is as before without it."""
    store.pass_time(61)
    _, failures = await sweep.remove(api, "shop")
    assert failures == []
    assert_as_before(store, before)


def selector(store: ObjectStore) -> Json:
    found: Json = (store.get(SERVICES, "web") or {})["spec"]["selector"]
    return found


REDIRECTED = {"app": "web-ktpy-gateway"}
