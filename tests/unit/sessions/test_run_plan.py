"""`ktpy run --print-only` tells what a run makes and gives, and makes nothing."""

from typing import Any

import pytest

from ktpy.errors import TargetAbsent
from ktpy.kube.client import Api
from ktpy.sessions import run_plan
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import ClaimAccess, ConnectOptions, EnvironmentEdits, RunOptions, WorkloadChoice
from tests.unit.kube.object_store import DEPLOYMENTS, ObjectStore

MAIN = {
    "name": "main",
    "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "db"}}}],
    "envFrom": [{"configMapRef": {"name": "settings"}}],
    "volumeMounts": [{"name": "s", "mountPath": "/etc/app"}, {"name": "d", "mountPath": "/data"}],
}
VOLUMES = [
    {"name": "s", "configMap": {"name": "settings"}},
    {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
]


@pytest.fixture
def planned(store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plan a run in a cluster with Deployment web."""
    spec = {"containers": [MAIN], "volumes": VOLUMES, "serviceAccountName": "clerk"}
    store.put(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": {"template": {"metadata": {}, "spec": spec}}})
    monkeypatch.setattr(ClusterRef, "run", lambda _self, work, _needed: work(store_api))
    return lambda of_run: run_plan.plan(ConnectOptions(image="agent:1", command=("true",)), of_run)


async def test_of_a_workload(store: ObjectStore, planned: Any) -> None:
    edits = EnvironmentEdits({"MORE": "1"}, frozenset({"HOST"}))
    found = await planned(RunOptions(workload=WorkloadChoice("web"), edits=edits, claims=ClaimAccess.NONE))
    assert (found["workload"], found["container"], found["namespace"]) == ("deployment/web", "main", "shop")
    assert found["environment"] == [
        {"name": "*", "source": "configmap/settings"},
        {"name": "PASSWORD", "source": "secret/keys, key db"},
        {"name": "MORE", "source": "option"},
    ]
    assert (found["unset"], found["command"]) == (["HOST"], ["true"])
    assert found["files"] == [
        {"path": "/data", "source": "persistentVolumeClaim data", "read_only": False, "is_given": False},
        {"path": "/etc/app", "source": "configMap settings", "read_only": True, "is_given": True},
    ]
    pod = found["manifest"]["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == "clerk"
    assert run_plan.PUBLIC_KEY in pod["metadata"]["annotations"].values()
    assert store.writes == []


async def test_without_a_workload_it_is_the_pod_of_a_connect(planned: Any) -> None:
    found = await planned(RunOptions())
    assert (found["workload"], found["environment"], found["files"]) == (None, [], [])
    assert [one["name"] for one in found["manifest"]["spec"]["template"]["spec"]["containers"]] == ["agent"]


async def test_what_a_run_refuses_it_refuses(planned: Any) -> None:
    with pytest.raises(TargetAbsent):
        await planned(RunOptions(workload=WorkloadChoice("nothing")))
