"""A service of the shop that people intercept: what it is when nobody does, and who answers its requests."""

import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.kit.shop import NAMESPACE
from tests.kit.waiting import eventually
from tests.lab import Lab, LabError
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import ktpys_objects
from tests.lab.sessions.request_log import SOON_S

LOCAL, OTHER_LOCAL = 3001, 3002
SLOWEST_S = 8.0
"""Of a request, whatever happens to laptops and gateways: a laptop that says nothing is waited for 4 s."""
PROBE_TIMEOUT_S = 5.0
"""Of a request that is made again: one that was led to a pod that has just ended is never answered."""
EXPOSED = ("--expose", f"{LOCAL}:80")
POD_GRACE_S = 120.0
"""For a pod that is told to go while its Python starts: pid 1 does not hear that, and the kubelet waits (45 s)."""
REDIRECTED = {"app": "web-ktpy-gateway"}
"""What service web selects while anybody intercepts it."""
INTERCEPTED = "ktpy.dev/intercepted"
"""The annotation of a service that tells by whom."""
KTPYS = "app.kubernetes.io/managed-by=ktpy"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"


def essence(service: dict[str, Any]) -> str:
    """All of a Service but what the API server counts: `resourceVersion`, and the times in `managedFields`.

    So: name, uid, labels, annotations, owners, finalizers, spec, status, and which manager owns which field.
    """
    metadata = {key: value for key, value in service["metadata"].items() if key != "resourceVersion"}
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"} for entry in metadata.get("managedFields") or []
    ]
    return json.dumps(service | {"metadata": metadata}, sort_keys=True, indent=1)


@contextmanager
def as_before(lab: Lab, name: str) -> Iterator[None]:
    """Service NAME is after the block what it was before, and nothing of ktpy's is left; nor is there before."""
    evict_leftovers(lab)
    until_nothing_of_ktpys(lab)  # another file's tests may have left pods that are ending
    before = essence(lab.api.get(f"{SERVICES}/{name}"))
    yield
    assert essence(lab.api.get(f"{SERVICES}/{name}")).splitlines() == before.splitlines()
    assert lasting_objects(lab) == []
    until_nothing_of_ktpys(lab)


def lasting_objects(lab: Lab) -> list[str]:
    """Those of ktpy's but pods, which end by themselves."""
    return [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")]


def evict_leftovers(lab: Lab) -> None:
    """Take out what a test that failed has left, so that no other fails by it."""
    if not lasting_objects(lab):
        return
    for service in lab.api.get(SERVICES)["items"]:
        if INTERCEPTED in service["metadata"].get("annotations", {}):
            recover = ["ktpy", "recover", service["metadata"]["name"], "-n", NAMESPACE, "--evict"]
            lab.exec(recover, user="root", check=True)
    lab.kubectl("-n", NAMESPACE, "delete", "deployments,services,leases,ingresses", "-l", KTPYS)


def until_nothing_of_ktpys(lab: Lab) -> None:
    """Wait until the last pod has ended."""
    if not eventually(lambda: not ktpys_objects(lab, NAMESPACE), timeout_s=POD_GRACE_S):
        raise LabError(f"still there after {POD_GRACE_S:g} s: {ktpys_objects(lab, NAMESPACE)}")


def getter(lab: Lab, host: str) -> Callable[..., str]:
    """Who answers one request, by the first word; nothing where the answer is empty."""

    def get(**headers: str) -> str:
        return "".join(ask(lab.layout.node_netns_path, host, headers, timeout_s=PROBE_TIMEOUT_S)[1].split()[:1])

    return get


def until_reached(get: Callable[[], str], expected: str = "local", times: int = 1) -> None:
    """Wait until so many answers on end are as expected: kube-proxy takes up to a second to know where to lead them."""

    def is_reached() -> bool:
        try:
            return all(get() == expected for _ in range(times))
        except (OSError, http.client.HTTPException):
            return False

    wait_until(is_reached, SOON_S, f"{expected} to answer")


def until_only_reached(get: Callable[[], str], expected: str) -> None:
    """Wait until no other end answers, and none that is gone is asked: of two, kube-proxy takes either by chance."""
    until_reached(get, expected, times=20)
