"""A version travels by W3C baggage: three services call each other, a to b to c, and c is meshed by a laptop."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.kit import workloads
from tests.e2e.kit.shop import Shop
from tests.e2e.kit.target_service import PROBE_TIMEOUT_S, until_reached
from tests.e2e.kit.workloads import Manifest, container
from tests.lab import Lab
from tests.lab.sessions.http_clients import ask
from tests.lab.sessions.intercept import intercepting
from tests.lab.sessions.local_server import LocalServer, serving

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

NAMESPACE = "baggage"
LOCAL = 3001
ORIGINAL, LAPTOPS = "a b c", "a b laptop's"
KIT = Path(__file__).parent / "kit"

Get = Callable[..., str]


def chain() -> list[Manifest]:
    objects = [workloads.code("relay", relay=KIT / "relay.py"), workloads.client()]
    for name, *following in (("a", "b"), ("b", "c"), ("c",)):
        program = container(name, "python3", "/code/relay.py", name, *following, ports={"http": 8080})
        port = {"name": "http", "port": 80, "targetPort": "http"}
        objects += [workloads.deployment(name, program, code="relay"), workloads.service(name, port)]
    return objects


@pytest.fixture(scope="module")
def get(lab: Lab) -> Iterator[Get]:
    """Asks a from a pod, with these headers; the answer is the names of all who answered."""
    with workloads.namespace(lab, NAMESPACE, *chain()):
        pod, host = workloads.netns(lab, NAMESPACE), Shop(lab.api, NAMESPACE).service("a").ipv4

        def get(**headers: str) -> str:
            return ask(pod, host, headers, timeout_s=PROBE_TIMEOUT_S)[1].strip()

        until_reached(get, ORIGINAL)
        yield get


@pytest.fixture(scope="module")
def laptops_c(lab: Lab, get: Get) -> Iterator[LocalServer]:
    assert get(baggage="ktpy-version=v1") == ORIGINAL
    with (
        serving(lab, LOCAL, "laptop's") as server,
        intercepting(lab, "mesh", "c", "--version", "v1", "--expose", f"{LOCAL}:80", namespace=NAMESPACE) as mesh,
    ):
        until_reached(lambda: get(baggage="ktpy-version=v1"), LAPTOPS)
        yield server
        mesh.leave()
    assert get(baggage="ktpy-version=v1") == ORIGINAL


@pytest.mark.parametrize(
    "baggage",
    [
        "ktpy-version=v1",
        "user=al,ktpy-version=v1,tenant=acme",
        "user=al , ktpy-version = v1 , tenant=acme",
        "ktpy-version=v1;ttl=60;secure,user=al",
        "name=%C3%A4ndr%C3%A9,ktpy-version=v1",
    ],
)
def test_through_two_services_to_the_laptop_with_all_its_members(
    get: Get, laptops_c: LocalServer, baggage: str
) -> None:
    assert get(baggage=baggage) == LAPTOPS
    assert laptops_c.baggage[-1] == [baggage]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"baggage": "user=al"},
        {"baggage": "ktpy-version=v2"},
        {"baggage": "ktpy-version=v11,xktpy-version=v1"},
        {"baggage": "user=ktpy-version=v1"},
        {"VERSION": "v1"},  # which nobody passes on
    ],
    ids=str,
)
def test_everybody_elses_requests_stay_in_the_cluster(
    get: Get, laptops_c: LocalServer, headers: dict[str, str]
) -> None:
    assert get(**headers) == ORIGINAL


def test_the_header_works_where_c_itself_is_asked(lab: Lab, laptops_c: LocalServer) -> None:
    pod, host = workloads.netns(lab, NAMESPACE), Shop(lab.api, NAMESPACE).service("c").ipv4
    assert ask(pod, host, {"VERSION": "v1"})[1].strip() == "laptop's"
    assert ask(pod, host, {"VERSION": "v2"})[1].strip() == "c"


def test_each_of_two_people_gets_his_own(lab: Lab, get: Get, laptops_c: LocalServer) -> None:
    """Root of the laptop has another version of c."""
    options = ("--version", "v2", "--expose", f"{LOCAL + 1}:80")
    with (
        serving(lab, LOCAL + 1, "root's"),
        intercepting(lab, "mesh", "c", *options, user="root", namespace=NAMESPACE),
    ):
        until_reached(lambda: get(baggage="ktpy-version=v2"), "a b root's")
        assert get(baggage="ktpy-version=v1") == LAPTOPS
        assert get() == ORIGINAL
