"""Workloads in an object store, and people who develop them."""

from typing import Any

from ktpy.cluster.changes.dev import DevChange
from ktpy.cluster.changes.dev_plan import prepare
from ktpy.cluster.changes.options import DevOptions
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.service.reference import KNOWN
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import NAMESPACE, ObjectStore

KEY = "ssh-ed25519 AAAA"
CONTAINER: Json = {
    "name": "web",
    "image": "shop/web:1",
    "args": ["serve"],
    "env": [{"name": "COLOUR", "value": "red"}],
    "ports": [{"containerPort": 8080}],
    "readinessProbe": {"httpGet": {"port": 8080}},
    "livenessProbe": {"httpGet": {"port": 8080}},
    "securityContext": {"runAsUser": 1000},
}
POD: Json = {
    "metadata": {"labels": {"app": "web", "pod-template-hash": "5f"}, "annotations": {"note": "kept"}},
    "spec": {"containers": [CONTAINER], "serviceAccountName": "shop", "terminationGracePeriodSeconds": 1},
}
SPECS: dict[str, Json] = {
    "deployment": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": POD},
    "statefulset": {"replicas": 2, "selector": {"matchLabels": {"app": "other"}}, "template": POD},
    "replicaset": {"replicas": 1, "selector": {"matchLabels": {"app": "other"}}, "template": POD},
    "daemonset": {"template": POD},
    "cronjob": {"suspend": False, "jobTemplate": {"spec": {"template": POD}}},
    "job": {"template": POD},
    "pod": POD["spec"],
}


def collection(kind: str) -> str:
    return KNOWN[kind].path(NAMESPACE)


def furnish(store: ObjectStore, kind: str = "deployment", **spec: Any) -> Json:
    """A workload named web; the answer is what must be there again in the end."""
    labels = {"app": "web"} if kind == "pod" else {"team": "a"}
    store.put(
        collection(kind),
        {"metadata": {"name": "web", "labels": labels, "generation": 1}, "spec": {**SPECS[kind], **spec}},
    )
    return essence(store, kind)


def essence(store: ObjectStore, kind: str = "deployment") -> Json:
    found = store.get(collection(kind), "web")
    assert found is not None
    metadata = {
        key: value for key, value in found["metadata"].items() if key not in ("resourceVersion", "managedFields")
    }
    return {"metadata": metadata, "spec": found["spec"]}


async def development(
    api: Api, session: str = "a", target: str = "deployment/web", owner: str | None = None, **options: Any
) -> DevChange:
    identity = SessionIdentity(session, owner or f"{session}@laptop", KEY)
    plan = await prepare(api, DevOptions(target, **options), identity)
    return DevChange(api, plan, 5.0)
