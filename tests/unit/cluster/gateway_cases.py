"""A Service in an object store, and people who intercept it."""

from typing import Any

from ktpy.cluster.changes.gateway import Gateway
from ktpy.cluster.changes.plan import Plan
from ktpy.cluster.service import ports
from ktpy.kube.client import Api
from tests.unit.kube.object_store import DEPLOYMENTS, LEASES, PODS, SERVICES, ObjectStore

Json = dict[str, Any]
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


def gateway(api: Api, session: str, owner: str | None = None, *, is_mesh: bool = False, **plan: Any) -> Gateway:
    plan.setdefault("exposed", (ports.Exposed(3001, 80),))
    made = Plan(public_key=KEY, image="agent:1", owner=owner or session, session=session, **plan)
    return Gateway(api, "web", made, is_mesh=is_mesh)


def is_clean(store: ObjectStore) -> bool:
    """Whether nothing of ktpy's is left."""
    return (
        store.names(SERVICES) == ["web"]
        and store.names(DEPLOYMENTS) == []
        and store.names(LEASES) == []
        and store.names(PODS) == ["web-1"]
    )


def selector(store: ObjectStore) -> Json:
    found: Json = (store.get(SERVICES, "web") or {})["spec"]["selector"]
    return found


REDIRECTED = {"app": "web-ktpy-gateway"}
