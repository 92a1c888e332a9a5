"""connect, an exchange and a mesh of one laptop go through the same faults, while everybody uses the shop."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S
from tests.e2e.kit import processes
from tests.e2e.kit.faults import unplugged
from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, OTHER_LOCAL
from tests.e2e.test_connect_comes_back import NEW_POD_WITHIN_S, NOTICED_WITHIN_S, Session, jobs_of
from tests.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.sessions.connect import Connecting
from tests.lab.sessions.http_clients import Visitors, visiting
from tests.lab.sessions.intercept import intercepting, ktpys_objects
from tests.lab.sessions.local_server import serving
from tests.lab.sessions.request_log import SOON_S, until_answered

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
BACK_WITHIN_S = 40.0
"""Of an intercept: its pauses grow up to 5 s."""
WAITED_S = 10.0
"""A new connection waits this long for the link."""
TAKEN_FOR_DEAD_WITHIN_S = 40.0
"""After the silence that others allow. Both times are by the second of the API server's clock, and may not fit."""


@pytest.fixture
def session(visitors: Visitors, connect: Connecting) -> Iterator[Session]:
    running = connect("--namespace", "default")  # service web is as before only without pods of ktpy's beside it
    yield Session(running)
    running.quit()


def test_all_of_it_comes_back(session: Session, visitors: Visitors, lab: Lab, shop: Shop) -> None:
    """A request from the laptop fails only while its link is lost. Others' requests never do."""
    catalog = shop.service("catalog").ipv4
    mesh_header = {"VERSION": "mine"}

    def api_server_restarts() -> None:
        lab.restart_api()

    def cable_is_out() -> None:
        with unplugged(lab):
            session.wait_lost(NOTICED_WITHIN_S)

    def pod_is_deleted() -> None:
        lab.kubectl("-n", "default", "delete", "pod", str(session.connect.status()["pod"]), "--wait=false")

    with (
        serving(lab, LOCAL),
        serving(lab, OTHER_LOCAL, "meshed"),
        intercepting(lab, "exchange", "web", *EXPOSED),
        intercepting(lab, "mesh", "catalog", "--expose", f"{OTHER_LOCAL}:80", "--version", "mine"),
        visiting(lab.layout.laptop_netns_path, catalog, rate=20.0) as at_the_laptop,
        visiting(lab.layout.node_netns_path, catalog, mesh_header, rate=20.0) as of_the_mesh,
    ):
        until_all_answer(visitors, at_the_laptop, of_the_mesh)
        outages = [
            outage(fault, session, at_the_laptop) for fault in (api_server_restarts, cable_is_out, pod_is_deleted)
        ]
        until_all_answer(visitors, at_the_laptop, of_the_mesh)
    unexplained = [
        visit
        for visit in at_the_laptop.failures()
        if not any(since_s - WAITED_S <= visit.began_s <= until_s for since_s, until_s in outages)
    ]
    assert unexplained == [], at_the_laptop.story()
    assert at_the_laptop.answers() >= {"catalog"}
    assert of_the_mesh.failures() == [], of_the_mesh.story()


def test_a_laptop_that_slept_comes_back(session: Session, visitors: Visitors, lab: Lab, laptop: Laptop) -> None:
    """For so long that others have taken its exchange out; and its shadow pod has ended, as it does some time later.

    When it does is seen by tests/e2e/connect_undo/test_two_minutes_later.py.
    """
    with serving(lab, LOCAL), intercepting(lab, "exchange", "web", *EXPOSED) as exchange:
        until_answered(visitors, "local")
        [taken_out] = {event["status"]["session"] for event in exchange.events("ready")}
        pod = str(session.connect.status()["pod"])
        asleep = processes.of(lab)
        for running in asleep:
            running.send(signal.SIGSTOP)
        os.killpg(exchange.process.pid, signal.SIGSTOP)
        try:
            until_answered(visitors, "web")
            [lease] = lab.api.get(LEASES)["items"]
            time.sleep(max(0.0, EXPIRED_AFTER_S - age_s(lease)))  # to ask sooner is work for nothing
            clean = ["ktpy", "clean", "-n", NAMESPACE]
            wait_until(
                lambda: taken_out in lab.exec(clean, user="root", check=True).stdout,
                TAKEN_FOR_DEAD_WITHIN_S,
                "others to take it for dead",
            )
            wait_until(lambda: not ktpys_objects(lab, NAMESPACE), SOON_S, "the gateway to be gone")
            lab.kubectl("-n", "default", "exec", pod, "--", "sh", "-c", "kill 1")
            wait_until(lambda: not running_shadows(lab), SOON_S, "the shadow pod to end")
        finally:
            for running in asleep:
                running.send(signal.SIGCONT)
            for sleeper in (session.connect, exchange):  # sudo, which stopped with its child, is in connect's group
                os.killpg(sleeper.process.pid, signal.SIGCONT)
        session.wait_back(NEW_POD_WITHIN_S)
        assert laptop.output("curl", "--silent", "http://catalog.shop/")
        assert len(jobs_of(lab, "default")) == 1
        until_answered(visitors, "local")
        exchange.wait_for("it takes part again")
        exchange.leave()


def age_s(lease: dict[str, Any]) -> float:
    """The seconds since it was renewed: lab and laptop have one clock."""
    renewed_at = datetime.fromisoformat(lease["spec"]["renewTime"])
    return (datetime.now(UTC) - renewed_at).total_seconds()


def running_shadows(lab: Lab) -> list[str]:
    pods = lab.api.get("/api/v1/namespaces/default/pods?labelSelector=ktpy.dev%2Frole%3Dshadow")["items"]
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"]


def outage(fault: Callable[[], None], session: Session, visitors: Visitors) -> tuple[float, float]:
    """Return from when to when the link was lost, at most."""
    since_s = time.monotonic()
    fault()
    session.wait_back(NEW_POD_WITHIN_S)
    until_s = time.monotonic()
    until_answered(visitors, "catalog", BACK_WITHIN_S)
    return since_s, until_s


def until_all_answer(visitors: Visitors, at_the_laptop: Visitors, of_the_mesh: Visitors) -> None:
    until_answered(visitors, "local", BACK_WITHIN_S)
    until_answered(at_the_laptop, "catalog", BACK_WITHIN_S)
    until_answered(of_the_mesh, "meshed", BACK_WITHIN_S)
