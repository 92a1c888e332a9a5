"""Pods behind a service mesh's sidecar that demands mutual TLS: a real Envoy, see `tests/e2e/kit/sidecar.py`."""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.demo import server
from tests.e2e.kit import admission, sidecar, workloads
from tests.e2e.kit.failed_command import attempt
from tests.e2e.kit.target_service import PROBE_TIMEOUT_S, until_reached
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import Intercept, intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import SOON_S

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE, LOCAL = "meshed", 3001
EXPOSED = ("--expose", f"{LOCAL}:{sidecar.SERVICE_PORT}")
MINE = {"VERSION": "mine"}
INJECTED_WITHIN_S = 30.0
SERVICE = f"/api/v1/namespaces/{NAMESPACE}/services/web"
Get = Callable[..., str]


def member(name: str, *command: str, port: int | None = None) -> workloads.Manifest:
    """A deployment whose pod has a sidecar."""
    ports = {"http": port} if port is not None else {}
    made = workloads.deployment(name, workloads.container(name, *command, ports=ports), code="code")
    made["spec"]["template"]["metadata"]["labels"] |= sidecar.INJECT
    return made


def until_injected(lab: Lab) -> None:
    """Wait until a pod that is made gets its sidecar: the API server hears of a policy a moment after it was made."""
    template = member("probe", "true")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "probe"}}

    def is_injected() -> bool:
        made = lab.kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=json.dumps(pod))
        return len(json.loads(made)["spec"]["containers"]) > 1

    wait_until(is_injected, INJECTED_WITHIN_S, "the policy that injects sidecars")


@pytest.fixture(scope="module")
def pods(lab: Lab) -> Iterator[None]:
    """Service web with a pod, and one client, in the mesh; and a client that is not."""
    if lab.api.get(admission.PATH) is None:
        pytest.skip("this Kubernetes has no MutatingAdmissionPolicy (v1) to inject sidecars by")
    objects = (
        sidecar.configuration(),
        workloads.code("code", server=Path(server.__file__)),
        member("web", "python3", "/code/server.py", "http", "web", port=sidecar.POD_PORT),
        member("inside", "sleep", "infinity"),
        workloads.client(),
        workloads.service("web", {"name": "http", "port": sidecar.SERVICE_PORT, "targetPort": sidecar.POD_PORT}),
    )
    with ExitStack() as ends:
        ends.enter_context(workloads.applied(lab, NAMESPACE, *sidecar.injection()))
        until_injected(lab)
        ends.enter_context(workloads.namespace(lab, NAMESPACE, *objects))
        yield


def getter(lab: Lab, app: str) -> Get:
    """Ask service web from the pod of an app: who answers, or the status where nobody of the two does."""
    pod, host = workloads.netns(lab, NAMESPACE, app), str(lab.api.get(SERVICE)["spec"]["clusterIP"])

    def get(**headers: str) -> str:
        try:
            status, body = ask(pod, host, headers, timeout_s=PROBE_TIMEOUT_S)
        except (ConnectionResetError, http.client.RemoteDisconnected):
            return "reset"
        return "".join(body.split()[:1]) if status == http.client.OK else str(status)

    return get


@pytest.fixture
def inside(lab: Lab, pods: None) -> Get:
    get = getter(lab, "inside")
    until_reached(get, "web")
    return get


@pytest.fixture
def stranger(lab: Lab, pods: None) -> Get:
    return getter(lab, workloads.CLIENT)


def selector(lab: Lab) -> dict[str, str]:
    return dict(lab.api.get(SERVICE)["spec"]["selector"])


def meshing(lab: Lab, *options: str) -> AbstractContextManager[Intercept]:
    header = ("--header", "VERSION=mine")
    return intercepting(lab, "mesh", "web", *EXPOSED, *header, *options, namespace=NAMESPACE)


def until_as_before(lab: Lab, inside: Get) -> None:
    assert selector(lab) == {"app": "web"}
    until_reached(inside, "web", times=5)
    assert [one for one in ktpys_objects(lab, NAMESPACE) if not one.startswith("pod/")] == []


def test_the_sidecar_takes_none_but_members(inside: Get, stranger: Get) -> None:
    assert (inside(), stranger()) == ("web", "reset")


def test_it_is_found_out_before_anything_is_changed(lab: Lab, inside: Get) -> None:
    for kind in ("exchange", "mesh", "tap"):
        refused = attempt(lab, command=["ktpy", kind, "web", "-n", NAMESPACE, *EXPOSED, "--", "true"])
        assert refused.exit_code == 52, refused.output
        assert "The pods of web are part of a service mesh (Istio)." in refused.message
        assert "nothing was changed" in refused.message
        assert "--in-mesh" in refused.hint
    until_as_before(lab, inside)


def test_in_the_mesh_each_gets_what_is_meant_for_it(lab: Lab, inside: Get, stranger: Get) -> None:
    with meshing(lab, "--in-mesh") as session:
        with serving(lab, LOCAL):
            until_reached(lambda: inside(**MINE), "local")
            assert {inside() for _ in range(5)} == {"web"}
            assert stranger(**MINE) == "reset"  # the gateway's sidecar demands what the pods' does
        until_reached(lambda: inside(**MINE), "web", times=5)
        session.leave()
    until_as_before(lab, inside)


def test_a_member_of_the_mesh_is_killed(lab: Lab, inside: Get) -> None:
    options = (*EXPOSED, "--in-mesh")
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *options, namespace=NAMESPACE) as session:
        until_reached(inside, "local")
        session.kill()
        until_reached(inside, "web", times=5)
        cleaned = lab.exec(["ktpy", "clean", "-n", NAMESPACE], user="dev", check=True)
        assert "web" in cleaned.stdout
    until_as_before(lab, inside)


def test_outside_the_mesh_nothing_gets_through_to_the_pods(lab: Lab, inside: Get, stranger: Get) -> None:
    """As documented: whoever asks for it has pods that take plain connections, too; these do not."""
    with serving(lab, LOCAL), meshing(lab, "--not-in-mesh") as session:
        until_reached(lambda: stranger(**MINE), "local")
        wait_until(lambda: stranger() in ("502", "503", "reset"), SOON_S, "the pods to refuse what the gateway sends")
        session.leave()
    until_as_before(lab, inside)
