"""Ingress classes and Gateways in an object store, and what a Gateway's controller says of a route."""

from typing import Any

from ktpy.kube import resources
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import NAMESPACE, ObjectStore

CLASSES = resources.INGRESS_CLASSES.path()
GATEWAYS = resources.GATEWAYS.path()
ROUTES = resources.HTTP_ROUTES.path(NAMESPACE)


def put_class(store: ObjectStore, name: str, **annotations: str) -> None:
    store.put(CLASSES, {"metadata": {"name": name, "annotations": annotations}})


def gateway(name: str, *listeners: Json, namespace: str = NAMESPACE) -> Json:
    """One whose listener takes every route of its own namespace, where none is given."""
    found = [{"name": "http", "port": 80, "protocol": "HTTP"} | one for one in listeners or ({},)]
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"listeners": found}}


def put_gateway(store: ObjectStore, name: str, *listeners: Json, namespace: str = NAMESPACE) -> None:
    store.put(GATEWAYS, gateway(name, *listeners, namespace=namespace))


def admitting(source: str, **more: Any) -> Json:
    """A listener that takes routes `from` there."""
    return {"allowedRoutes": {"namespaces": {"from": source, **more}}}


def take_route(store: ObjectStore, namespace: str, name: str, **conditions: str) -> None:
    """Say of route pay, if it is there, what the controller of a Gateway says; without more, that it takes it."""
    said = {"Accepted": "True", "ResolvedRefs": "True"} | conditions
    if (route := store.get(ROUTES, "pay")) is None:
        return
    parent = {
        "parentRef": {"namespace": namespace, "name": name},
        "conditions": [
            {"type": one, "status": status, "reason": f"{one}Reason", "message": "so it is"}
            for one, status in said.items()
        ],
    }
    store.put(ROUTES, route | {"status": {"parents": [parent]}})
