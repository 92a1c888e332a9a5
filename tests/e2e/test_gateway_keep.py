"""A gateway that stays, for the connections that clients keep; and pods that are renewed for them."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from ktpy.cluster import rbac
from tests.e2e.kit.rights import granted, role
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, REDIRECTED, SERVICES, getter, until_reached
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.http_clients import Connection, Visitors, visiting
from tests.lab.sessions.intercept import intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

KEEPER = "carol@example.org"
MESH = (*EXPOSED, "--version", "v")
PODS = 2
ROLLOUT_S = 240.0


class KeptConnection(Connection):
    """A connection that is never made anew."""

    auto_open = 0

    def __init__(self, lab: Lab, host: str) -> None:
        super().__init__(lab.layout.node_netns_path, host)
        self.connect()

    def ask(self, **headers: str) -> str:
        self.request("GET", "/", headers=headers)
        return self.getresponse().read().decode().split()[0]


def kept_connection(lab: Lab, host: str) -> KeptConnection:
    """One to the gateway's present process: one that was replaced may take it first, and closes after an answer."""
    connection = KeptConnection(lab, host)
    for _ in range(50):
        assert connection.ask(VERSION="v") == "web"
        if connection.sock is not None:
            return connection
        connection.connect()
    raise AssertionError("no connection is kept")


def gateway(lab: Lab, *arguments: str, user: str = "dev") -> "subprocess.CompletedProcess[str]":
    return lab.exec(["ktpy", "gateway", *arguments, "-n", NAMESPACE], user=user)


def who(lab: Lab) -> list[tuple[str, bool]]:
    """Who shares the gateway: what he does, and whether he keeps it."""
    found = json.loads(gateway(lab, "who", "web", "--output", "json").stdout)
    return [(one["kind"], one["is_keeper"]) for one in found["sessions"]]


@contextmanager
def kept(lab: Lab, *options: str) -> Iterator[None]:
    done = gateway(lab, "keep", "web", *options)
    try:
        assert done.returncode == 0, done.stderr
        yield
    finally:
        gateway(lab, "release", "web")


def selector(lab: Lab) -> dict[str, Any]:
    return dict(lab.api.get(f"{SERVICES}/web")["spec"]["selector"])


def test_each_intercept_has_effect_on_connections_that_were_there_before(lab: Lab, visitors: Visitors) -> None:
    """One user keeps it with the documented rights, a second and a third have meshes, the second releases it."""
    kubeconfig = lab.kubeconfig(KEEPER)
    get = getter(lab, visitors.host)
    with granted(lab, role(rbac.INTERCEPT, KEEPER)):
        done = gateway(lab, "keep", "web", "--kubeconfig", str(kubeconfig))
    try:
        assert done.returncode == 0, done.stderr
        assert selector(lab) == REDIRECTED
        with serving(lab, LOCAL), intercepting(lab, "mesh", "web", *MESH) as mesh:
            until_reached(lambda: get(VERSION="v"))  # the node knows of the gateway now
            mesh.leave()
        for user in ("dev", "root"):
            with serving(lab, LOCAL), closing(kept_connection(lab, visitors.host)) as connection:
                with intercepting(lab, "mesh", "web", *MESH, user=user) as mesh:
                    until_reached(lambda: connection.ask(VERSION="v"))
                    assert who(lab) == [("keep", True), ("mesh", False)]
                    mesh.leave()
                assert get(VERSION="v") == "web"
                assert selector(lab) == REDIRECTED
        cleaned = lab.exec(["ktpy", "clean", "-n", NAMESPACE], user="dev")
        assert f"`ktpy gateway release web -n {NAMESPACE}` gives the service back" in cleaned.stdout
        assert who(lab) == [("keep", True)]
    finally:
        released = gateway(lab, "release", "web")
    assert released.stdout.startswith("The gateway of web is not kept any more; it was by "), released.stderr
    assert selector(lab) == {"app": "web"}
    assert visitors.answers() == {"web"}


def test_one_that_is_released_meanwhile_goes_with_the_last_who_intercepts(lab: Lab, visitors: Visitors) -> None:
    with serving(lab, LOCAL):
        with kept(lab), intercepting(lab, "mesh", "web", *MESH) as mesh:
            released = gateway(lab, "release", "web")
            assert "It stays until they have left who intercept web: dev@" in released.stdout, released.stderr
            assert selector(lab) == REDIRECTED
            mesh.leave()
        assert selector(lab) == {"app": "web"}
        assert [one for one in ktpys_objects(lab, NAMESPACE) if one.startswith("deployment")] == []


# --- the original pods are renewed


@pytest.fixture
def two_pods(lab: Lab, shop: Shop) -> Iterator[None]:
    """Of service web, at most one of which may be disturbed."""
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    scale(lab, PODS)
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(budget))
    yield
    lab.kubectl("delete", "-f", "-", stdin=json.dumps(budget))
    scale(lab, 1)


def scale(lab: Lab, replicas: int) -> None:
    """Return once there are so many pods, with those that are ending."""
    lab.kubectl("-n", NAMESPACE, "scale", "deployment/web", f"--replicas={replicas}")
    lab.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/web", timeout_s=ROLLOUT_S)
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dweb"
    wait_until(lambda: len(lab.api.get(pods)["items"]) == replicas, ROLLOUT_S, f"{replicas} pods")


def test_clients_that_keep_connections_are_moved(lab: Lab, shop: Shop, two_pods: None, web: str) -> None:
    before = shop.pods("web").keys()
    with (
        serving(lab, LOCAL),
        visiting(lab.layout.node_netns_path, web) as visitors,
        intercepting(lab, "exchange", "web", *EXPOSED, "--move-clients") as exchange,
    ):
        exchange.wait_for(f"({PODS} of {PODS})", ROLLOUT_S)
        assert shop.pods("web").keys().isdisjoint(before)
        until_answered(visitors, "local")
    assert visitors.failures() == [], visitors.story()


def test_the_only_pod_is_not_evicted(lab: Lab, web: str) -> None:
    scale(lab, 1)  # an eviction may have left one that is ending
    done = lab.exec(["ktpy", "exchange", "web", *EXPOSED, "-n", NAMESPACE, "--move-clients"], user="dev")
    assert (done.returncode, "it has 1 ready pod," in done.stderr + done.stdout) == (52, True)
