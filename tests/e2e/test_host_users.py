"""A workload whose pods have users of their own (`hostUsers: false`, KEP-127): `scripts/lab up --containerd 2`."""

import os
from collections.abc import Iterator

import pytest

from tests.e2e.kit.laptop import Laptop
from tests.e2e.kit.shop import NAMESPACE, Shop
from tests.e2e.kit.target_service import EXPOSED, LOCAL, getter, until_only_reached, until_reached
from tests.e2e.kit.workloads import applied, code, container, deployment, service
from tests.lab import Lab
from tests.lab.layout import REPOSITORY
from tests.lab.sessions.connect import Connecting
from tests.lab.sessions.foreground import Foreground
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

HERE = ("--namespace", NAMESPACE)
SERVER = ("python3", "/code/server.py", "http")
SOURCES = "/home/dev/src"
USERS = ("cat", "/proc/self/uid_map")


@pytest.fixture(scope="module")
def apart(lab: Lab, shop: Shop) -> Iterator[str]:
    """The address of a service before such pods."""
    if lab.status().get("containerd") != "2":
        pytest.skip('containerd 1 cannot do it: KTPY_LAB_UP="--containerd 2"')
    pods = deployment("apart", container("apart", *SERVER, "apart", ports={"http": 8080}), code="server")
    pods["spec"]["template"]["spec"]["hostUsers"] = False
    programs = code("server", server=REPOSITORY / "tests/demo/server.py")
    with applied(lab, NAMESPACE, programs, pods, service("apart", {"port": 80, "targetPort": 8080})):
        address = shop.service("apart").ipv4
        until_reached(getter(lab, address), "apart")
        assert are_own(lab.kubectl("-n", NAMESPACE, "exec", "deployment/apart", "--", *USERS))
        yield address


def are_own(uid_map: str) -> bool:
    """Whether user 0 of a user namespace is another one outside (user_namespaces(7))."""
    inside, outside, _ = uid_map.split()
    return inside == "0" != outside


def test_its_pods_and_its_name_are_reached(apart: str, connect: Connecting, laptop: Laptop, shop: Shop) -> None:
    connect(*HERE)
    [pod] = shop.pods("apart").values()
    for host in ("apart", apart, f"{pod.ipv4}:8080", f"[{pod.ipv6}]:8080"):
        assert laptop.output("curl", "-sS", f"http://{host}/").startswith("apart")


def test_its_requests_are_taken_and_given_back(apart: str, lab: Lab) -> None:
    get = getter(lab, apart)
    with serving(lab, LOCAL), intercepting(lab, "exchange", "apart", *EXPOSED) as exchange:
        until_only_reached(get, "local")
        exchange.leave()
    until_only_reached(get, "apart")


def test_it_is_developed_as_those_users(apart: str, lab: Lab, laptop: Laptop) -> None:
    lab.exec(["sh", "-c", f"rm -rf {SOURCES}; mkdir -p {SOURCES}; echo mine > {SOURCES}/a"], user="dev", check=True)
    start = ("ktpy", "dev", "start", "apart", *HERE, "--sync", f"{SOURCES}:/src", "--", *SERVER, "mine")
    session = Foreground(lab, start)
    try:
        session.wait_for("is switched off")
        until_only_reached(getter(lab, apart), "mine")
        ran = ("ktpy", "dev", "run", "apart", *HERE, "--")
        assert are_own(laptop.output(*ran, *USERS))
        assert laptop.output(*ran, "cat", "/src/a") == "mine\n"
        laptop.output("ktpy", "dev", "end", "apart", *HERE)
        assert session.wait_ended() == 0, session.output
    finally:
        if session.process.poll() is None:
            session.process.terminate()
        session.end()
    until_only_reached(getter(lab, apart), "apart")
