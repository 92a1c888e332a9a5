"""A small Kubernetes API: objects with the uids, versions and preconditions that intercepts rely on.

Deployments get a ready pod at once, and EndpointSlices follow selectors at once. The clock is the test's: it is what
`managedFields` and the Date header tell. `before` runs ahead of a request, to let somebody else be faster.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any, TypeVar

from ktpy.kube import resources
from ktpy.kube.objects import Json
from tests.kit.waiting import until
from tests.unit.kube.api_stub import refused
from tests.unit.kube.in_process import Reply, Request, in_process

NAMESPACE = "shop"
Item = TypeVar("Item", Json, Json | None)
_PATH = re.compile(r"(?P<collection>/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/[^/]+)?/[a-z]+)(?:/(?P<name>[^/]+))?")
SLICES = resources.ENDPOINT_SLICES.path(NAMESPACE)
SERVICES = resources.SERVICES.path(NAMESPACE)
NAMESPACES = resources.NAMESPACES.path()
PODS = resources.PODS.path(NAMESPACE)
DEPLOYMENTS = resources.DEPLOYMENTS.path(NAMESPACE)
LEASES = resources.LEASES.path(NAMESPACE)


class ObjectStore:
    def __init__(self) -> None:
        self.url = ""
        self.now = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)
        self.writes: list[str] = []
        """Each write that was taken, as `PATCH services/web`."""
        self.before: dict[str, list[Callable[[], object]]] = {}
        """By `METHOD resource/name`: what happens ahead of the first, the second... such request."""
        self.forbidden: set[str] = set()
        """As `list networkpolicies`, or `list /api/v1/services` for the whole cluster."""
        self.absent: set[str] = set()
        """Collections of resources that this API server does not have."""
        self.discovery: dict[str, Json] = {"/apis": {"groups": []}}
        """By path: which groups and resources there are besides those that every API server has."""
        self.service_name = re.compile("[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
        """RFC 1035, section 2.3.1; since Kubernetes 1.37 a digit may come first."""
        self.dry_run: tuple[int, Json] = (201, {})
        """What is answered to a creation that is only tried."""
        self.evict: Callable[[str, bool], int] = lambda _name, _is_dry_run: 404
        """What is answered to an eviction, or to a dry run of one; it does what the cluster would."""
        self._objects: dict[tuple[str, str], Json] = {(NAMESPACES, NAMESPACE): {"metadata": {"name": NAMESPACE}}}
        self._versions: Iterator[int] = count(1)
        self._history: list[tuple[int, Json]] = []
        """Each change and its version: a watch begins with those since its resource version."""
        self._changed = asyncio.Event()
        self._is_over = False

    # --- what tests say and see

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def put(self, collection: str, item: Json) -> Json:
        """Create or replace an object, as somebody else."""
        item = _copied(item)
        metadata = item["metadata"]
        metadata.setdefault("namespace", NAMESPACE)
        kind = "MODIFIED" if (collection, metadata["name"]) in self._objects else "ADDED"
        metadata.setdefault("uid", f"uid-{next(self._versions)}")
        self._store(collection, item, kind)
        return item

    def get(self, collection: str, name: str) -> Json | None:
        return _copied(self._objects.get((collection, name)))

    def names(self, collection: str) -> list[str]:
        return sorted(name for where, name in self._objects if where == collection)

    def remove(self, collection: str, name: str) -> None:
        item = _copied(self._objects.pop((collection, name)))
        item["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell("DELETED", collection, item)
        if collection == DEPLOYMENTS and f"{name}-pod" in self.names(PODS):
            self.remove(PODS, f"{name}-pod")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what requests in flight bring about."""
        await until(condition, timeout_s=5)

    # --- the server

    async def answer(self, request: Request) -> Reply:
        if (found := self.discovery.get(request.path)) is not None:
            return self._json(found, 200)
        if request.path.startswith(f"{PODS}/") and request.path.endswith("/eviction"):
            return self._evict(request.path.split("/")[-2], json.loads(request.body))
        if (parts := _PATH.fullmatch(request.path)) is None:
            return self._json(refused(503, "the server is currently unable to handle the request"), 503)
        collection, name = parts["collection"], parts["name"]
        resource = collection.rpartition("/")[2]
        if waiting := self.before.get(
            f"{request.method} {resource}/{name}" if name else f"{request.method} {resource}"
        ):
            waiting.pop(0)()
        verb = {"GET": "get" if name else "list"}.get(request.method, request.method.lower())
        if {f"{verb} {resource}", f"{verb} {collection}"} & self.forbidden:
            return self._json(refused(403, f'User "al" cannot {verb} resource "{resource}"'), 403)
        if resource.endswith("reviews") or collection in self.absent:
            return self._json(refused(404, "the server could not find the requested resource"), 404)
        if request.query.get("watch"):
            return Reply(self._watch(request, collection))
        body = json.loads(request.body or "null")
        status, answered = self._act(request, collection, name, body)
        if status < 400 and request.method != "GET" and not request.query.get("dryRun"):
            self.writes.append(f"{request.method} {resource}/{name or body['metadata']['name']}")
        return self._json(answered, status)

    def _evict(self, name: str, body: Json) -> Reply:
        if "post pods/eviction" in self.forbidden:
            return self._json(refused(403, 'User "al" cannot create resource "pods/eviction"'), 403)
        status = self.evict(name, "dryRun" in body["deleteOptions"])
        return self._json({"kind": "Status"} if status < 400 else refused(status, "Cannot evict pod."), status)

    def _act(self, request: Request, collection: str, name: str | None, body: Any) -> tuple[int, Json]:
        if name is None:
            if request.method == "GET":
                return 200, self._list(collection, request.query)
            return self._post(request, collection, body)
        found = self._objects.get((collection, name))
        if found is None:
            details = {"kind": collection.rpartition("/")[2], "name": name}
            return 404, refused(404, f"{name} not found") | {"details": details}
        if request.method == "GET":
            return 200, found
        wanted = body.get("metadata" if request.method == "PATCH" else "preconditions") or {}
        for key in ("resourceVersion", "uid"):
            if key in wanted and wanted[key] != found["metadata"][key]:
                if request.method == "PATCH" and key == "uid":
                    invalid = f'"{name}" is invalid: metadata.uid: Invalid value: "{wanted[key]}": field is immutable'
                    return 422, refused(422, invalid)
                return 409, refused(409, f"the {key} does not match")
        if request.method == "DELETE":
            self.remove(collection, name)
            return 200, {"kind": "Status"}
        patched = _copied(found)
        _merge(patched, body)
        self._store(collection, patched, "MODIFIED")
        return 200, patched

    def _post(self, request: Request, collection: str, body: Any) -> tuple[int, Json]:
        if (collection, body["metadata"]["name"]) in self._objects:
            return 409, refused(409, "already exists")
        if collection == SERVICES and not self.service_name.fullmatch(body["metadata"]["name"]):
            return 422, refused(422, 'Service "x" is invalid: metadata.name: Invalid value')
        if collection == SERVICES and (address := body["spec"].get("clusterIP")) in self._addresses():
            taken = f"failed to allocate IP {address}: provided IP is already allocated"
            return 422, refused(422, f'Service "x" is invalid: spec.clusterIPs: Invalid value: ["{address}"]: {taken}')
        return self.dry_run if request.query.get("dryRun") else (201, self._create(collection, body))

    def _addresses(self) -> set[str]:
        services = [item["spec"] for (where, _), item in self._objects.items() if where == SERVICES]
        return {spec["clusterIP"] for spec in services if spec.get("clusterIP") not in (None, "None")}

    def _create(self, collection: str, body: Json) -> Json:
        body["metadata"]["creationTimestamp"] = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if collection == SERVICES:
            body["spec"].setdefault("clusterIP", f"10.96.0.{next(self._versions)}")
        if collection == DEPLOYMENTS:
            body["status"] = {"readyReplicas": 1}
        item = self.put(collection, body)
        if collection == DEPLOYMENTS:
            template = body["spec"]["template"]
            pod = {
                "metadata": _copied(template["metadata"]) | {"name": f"{item['metadata']['name']}-pod"},
                "spec": template["spec"] | {"nodeName": "n1"},
                "status": {
                    "phase": "Running",
                    "podIP": "10.1.0.9",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [
                        {"name": one["name"], "state": {"running": {}}} for one in template["spec"]["containers"]
                    ],
                },
            }
            self.put(PODS, pod)
        return item

    def _list(self, collection: str, query: Any) -> Json:
        if collection == SLICES:
            service = query["labelSelector"].partition("=")[2]
            return {"metadata": {}, "items": [{"endpoints": self._endpoints(service)}]}
        items = [
            item
            for (where, _), item in self._objects.items()
            if where in (collection, _namespaced(collection)) and _is_asked_for(query, item)
        ]
        return {"metadata": {"resourceVersion": str(next(self._versions))}, "items": items}

    def _endpoints(self, service: str) -> list[Json]:
        found = self._objects.get((SERVICES, service))
        if found is None:
            return []
        selector = found["spec"].get("selector") or {}
        return [
            {"targetRef": {"uid": pod["metadata"]["uid"]}, "conditions": {"ready": True}}
            for (where, _), pod in self._objects.items()
            if where == PODS and selector.items() <= (pod["metadata"].get("labels") or {}).items()
        ]

    def _store(self, collection: str, item: Json, change: str) -> None:
        metadata = item["metadata"]
        metadata["resourceVersion"] = str(next(self._versions))
        metadata["managedFields"] = [{"manager": "ktpy", "time": self.now.strftime("%Y-%m-%dT%H:%M:%SZ")}]
        self._objects[collection, metadata["name"]] = item
        self._tell(change, collection, item)

    def _tell(self, change: str, collection: str, item: Json) -> None:
        told = {"collection": collection, "type": change, "object": _copied(item)}
        self._history.append((int(item["metadata"]["resourceVersion"]), told))
        self._changed.set()

    async def _watch(self, request: Request, collection: str) -> AsyncGenerator[bytes, None]:
        seen = int(request.query["resourceVersion"])
        while not self._is_over:
            self._changed.clear()
            for version, change in self._history:
                if (
                    version > seen
                    and change["collection"] == collection
                    and _is_asked_for(request.query, change["object"])
                ):
                    yield json.dumps(change).encode() + b"\n"
                    seen = version
            await self._changed.wait()

    def _json(self, body: Json, status: int) -> Reply:
        return Reply(json.dumps(body).encode(), status, {"Date": format_datetime(self.now, usegmt=True)})

    def release(self) -> None:
        """End the watches."""
        self._is_over = True
        self._changed.set()


def _copied(item: Item) -> Item:
    copied: Item = json.loads(json.dumps(item))  # several times as fast as copy.deepcopy
    return copied


def _is_asked_for(query: Mapping[str, str], item: Json) -> bool:
    """By label selector, and by metadata.name as the field selector."""
    name = query.get("fieldSelector", "").partition("=")[2]
    return name in ("", item["metadata"]["name"]) and _matches(query.get("labelSelector", ""), item)


def _namespaced(collection: str) -> str:
    """Where the objects of a list over all namespaces are."""
    version, _, resource = collection.rpartition("/")
    return f"{version}/namespaces/{NAMESPACE}/{resource}"


def _merge(target: Json, patch: Json) -> None:
    """RFC 7396."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            child = target.setdefault(key, {})
            _merge(child, value)
            if not child:
                del target[key]
        else:
            target[key] = value


def _matches(selector: str, item: Json) -> bool:
    labels = item["metadata"].get("labels") or {}
    for term in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        key, equals, value = term.partition("=")
        if equals and labels.get(key) != value:
            return False
        if " in (" in term:
            key, _, values = term.rstrip(")").partition(" in (")
            if labels.get(key) not in values.split(","):
                return False
        elif not equals and key not in labels:
            return False
    return True


@contextmanager
def storing() -> Iterator[ObjectStore]:
    store = ObjectStore()
    with in_process(store.answer) as store.url:
        try:
            yield store
        finally:
            store.release()
