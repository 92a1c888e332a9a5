import pytest

from ktpy import __version__
from ktpy.cluster.changes.agents import Agent, difference, find
from ktpy.cluster.names import MANAGED_BY, labels
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.kube.object_store import ObjectStore

PODS = "/api/v1/namespaces/shop/pods"


def pod(name: str, role: str, image: str, phase: str = "Running", *, container: str = "agent") -> Json:
    init = [{"name": container, "image": image}] if container == "ktpy-agent" else []
    own = [{"name": "web", "image": "web:7"}] if init else [{"name": container, "image": image}]
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": labels(role, owner="al@x", session="s")},
        "spec": {"initContainers": init, "containers": own},
        "status": {"phase": phase},
    }


async def test_agents_are_found_in_whatever_role_with_the_version_of_their_image(
    store: ObjectStore, store_api: Api
) -> None:
    for one in (
        pod("a", "shadow", "ghcr.io/ktpy/agent:0.0.9"),
        pod("b", "gateway", "registry:5000/agent"),
        pod("c", "dev", "mirror/agent:1.2.3@sha256:00", container="ktpy-agent"),
        pod("d", "shadow", "agent:latest", "Pending"),
        pod("e", "shadow", "agent:0.1.0", "Succeeded"),
        pod("f", "shadow", "agent:0.1.0", container="another"),
        {"metadata": {"name": "web", "namespace": "shop", "labels": {MANAGED_BY: "Helm"}}, "spec": {}, "status": {}},
    ):
        store.put(PODS, one)
    assert await find(store_api) == [
        Agent("a", "shadow", "al-x", "ghcr.io/ktpy/agent:0.0.9", "0.0.9"),
        Agent("b", "gateway", "al-x", "registry:5000/agent", None),
        Agent("c", "dev", "al-x", "mirror/agent:1.2.3@sha256:00", "1.2.3"),
        Agent("d", "shadow", "al-x", "agent:latest", None),
    ]


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (__version__, None),
        (None, None),
        ("0.0.9", "older"),
        ("0.10.0", "newer"),
        (f"{__version__}-rc1", "another"),
        ("mine", "another"),
    ],
)
def test_how_a_version_stands_to_this_one(version: str | None, told: str | None) -> None:
    assert difference(version) == told
    assert Agent("a").data(version) == {
        "pod": "a",
        "role": "shadow",
        "owner": None,
        "image": None,
        "version": version,
        "difference": told,
    }
