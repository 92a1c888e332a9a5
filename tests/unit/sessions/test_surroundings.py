from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from ktpy.cluster.pods.clothes import clothes_of
from ktpy.cluster.service.running_pod import RunningPod
from ktpy.errors import PodFailed, TargetAbsent
from ktpy.kube.client import Api
from ktpy.sessions.options import EnvironmentEdits, WorkloadChoice
from ktpy.sessions.surroundings import PodSurroundings, Wardrobe, fetch_surroundings, open_wardrobe
from ktpy.wire.surroundings import COMMAND, PodEnvironment
from tests.unit.kube.object_store import DEPLOYMENTS, ObjectStore

LABELS = {"labels": {"app": "web"}}
ENV = [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
TEMPLATE: dict[str, Any] = {"metadata": {}, "spec": {"containers": [{"name": "main", "env": ENV}]}}


class Uplink:
    """It answers one command."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    async def output_of(self, command: str) -> AsyncIterator[bytes]:
        assert command == COMMAND
        yield self.answer[:9]
        yield self.answer[9:]


async def test_the_wardrobe_of_a_workload(store: ObjectStore, store_api: Api) -> None:
    store.put(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": {"template": TEMPLATE}})
    wardrobe = await open_wardrobe(store_api, WorkloadChoice("web"), "agent:1")
    assert (wardrobe.workload, wardrobe.clothes.container) == ("deployment/web", "main")
    of_user = {"metadata": {"labels": {"a": "b"}}, "spec": {"dnsPolicy": "None"}}
    merged = wardrobe.overlay(of_user)
    assert (merged["metadata"], merged["spec"]["dnsPolicy"]) == (of_user["metadata"], "None")
    assert [one["name"] for one in merged["spec"]["containers"]] == ["agent", "environment"]
    with pytest.raises(TargetAbsent):
        await open_wardrobe(store_api, WorkloadChoice("web", "none"), "agent:1")


async def test_what_the_agent_tells() -> None:
    told = PodEnvironment({"PASSWORD": "x", "KEY": "y"}, ("KEY",), "shadow-0", "10.0.0.1")
    uplink = cast("Any", Uplink(told.line()))
    found = await fetch_surroundings(uplink, clothes_of(TEMPLATE, None, "agent:1"))
    assert found.environment == {"PASSWORD": "x", "KEY": "y"}
    assert (found.host_name, found.pod_ip) == ("shadow-0", "10.0.0.1")
    assert found.secret_names == {"PASSWORD", "KEY"}


def test_a_program_has_the_pods_environment_but_stays_on_the_laptop() -> None:
    of_pod = {"PATH": "/app", "HOME": "/root", "A": "pod", "B": "pod", "C": "pod"}
    pod = PodSurroundings(of_pod, frozenset(), "shadow-0", "10.0.0.1")
    edits = EnvironmentEdits({"B": "user", "HOME": "/user"}, frozenset({"C"}))
    assert pod.environment_for({"PATH": "/usr/bin", "A": "laptop", "D": "laptop"}, edits) == {
        "PATH": "/usr/bin",
        "HOME": "/user",
        "HOSTNAME": "shadow-0",
        "A": "pod",
        "B": "user",
        "D": "laptop",
    }


def test_what_ktpy_sets_counts_more_than_the_pods_and_less_than_the_users() -> None:
    pod = PodSurroundings({"HTTP_PROXY": "pod", "ALL_PROXY": "pod"}, frozenset(), "shadow-0", "10.0.0.1")
    proxied = {"HTTP_PROXY": "ktpy", "ALL_PROXY": "ktpy"}
    assert pod.environment_for({}, EnvironmentEdits({"ALL_PROXY": "user"}), proxied) == {
        "HTTP_PROXY": "ktpy",
        "ALL_PROXY": "user",
        "HOSTNAME": "shadow-0",
    }


def test_what_loaders_and_shells_obey_is_left_out_unless_the_user_sets_it() -> None:
    of_pod = {"LD_PRELOAD": "/x.so", "BASH_FUNC_ls%%": "() { :; }", "PYTHONHOME": "/x", "LDAP": "kept"}
    pod = PodSurroundings(of_pod, frozenset(), "shadow-0", "10.0.0.1")
    assert pod.left_out == ["LD_PRELOAD", "BASH_FUNC_ls%%", "PYTHONHOME"]
    edits = EnvironmentEdits({"PYTHONHOME": "/mine"}, frozenset())
    assert pod.environment_for({}, edits) == {"LDAP": "kept", "HOSTNAME": "shadow-0", "PYTHONHOME": "/mine"}


async def test_an_agent_that_cannot_tell() -> None:
    uplink = cast("Any", Uplink(b'{"version": 1, "agent": "0.1.0"}\n'))
    with pytest.raises(PodFailed, match="does not tell of the workload's environment"):
        await fetch_surroundings(uplink, clothes_of(TEMPLATE, None, "agent:1"))


def test_with_a_running_pod_it_is_that_ones_environment_but_the_shadow_pods_name_and_address() -> None:
    told = PodSurroundings({"POD_IP": "10.0.0.1", "A": "template"}, frozenset({"A"}), "shadow-0", "10.0.0.1")
    clothes = replace(clothes_of(TEMPLATE, None, "agent:1"), own_names=frozenset({"POD_IP"}))
    running = RunningPod("web-0", {"POD_IP": "10.0.0.9", "A": "pod", "LANG": "C.UTF-8"})
    completed = Wardrobe("deployment/web", clothes, running=running).completed(told)
    assert completed.environment == {"POD_IP": "10.0.0.1", "A": "pod", "LANG": "C.UTF-8"}
    assert Wardrobe("deployment/web", clothes).completed(told) is told


async def test_what_keeps_a_running_pod_from_telling_is_said_before_anything_is_made(
    store: ObjectStore, store_api: Api
) -> None:
    store.put(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": {"template": TEMPLATE | {"metadata": LABELS}}})
    with pytest.raises(TargetAbsent, match="no pod whose container main runs"):
        await open_wardrobe(store_api, WorkloadChoice("web", from_pod=True), "agent:1")
    assert store.writes == []
