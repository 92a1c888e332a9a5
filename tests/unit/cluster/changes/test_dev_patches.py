from copy import deepcopy

import pytest

from ktpy.cluster.changes.dev_manifest import dev_deployment
from ktpy.cluster.changes.dev_patches import fitted, is_whole
from ktpy.cluster.changes.dev_plan import prepare
from ktpy.cluster.changes.options import DevOptions, DevPatch
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.errors import UsageError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from tests.unit.cluster.changes.dev_cases import KEY, POD, development, essence, furnish
from tests.unit.kube.object_store import DEPLOYMENTS, ObjectStore


def of_pod(**spec: object) -> Json:
    return {"spec": {"template": {"spec": spec}}}


def fit(body: object, kind: str = "strategic") -> tuple[list[object], list[str]]:
    patches, told = fitted([DevPatch(kind, body, "patch 1 of a:1:1")], POD["spec"], "web")
    return [one.body for one in patches], [one.partition("patch for ")[2].partition(" left")[0] for one in told]


def test_what_is_for_a_container_that_there_is_not_is_left_out() -> None:
    sidecar = {"name": "nocalhost-sidecar", "image": "x", "securityContext": {"privileged": "false"}}
    small = {"name": "nocalhost-dev", "resources": {}}
    added = {"name": "cache", "image": "redis"}
    whole = of_pod(containers=[sidecar, small, added, {"name": "web", "tty": True}, {"name": "none"}], hostNetwork=True)
    before = deepcopy(whole)
    kept = [{"name": "web", "resources": {}}, added, {"name": "web", "tty": True}]
    assert fit(whole) == ([of_pod(containers=kept, hostNetwork=True)], ["nocalhost-sidecar", "none"])
    assert whole == before
    assert fit(of_pod(containers=[sidecar], initContainers=[{"name": "web"}])) == ([], ["nocalhost-sidecar", "web"])
    assert fit({"metadata": {"labels": {"a": "b"}}, **of_pod(containers=[sidecar])}, "merge") == (
        [{"metadata": {"labels": {"a": "b"}}}],
        ["nocalhost-sidecar"],
    )
    others: list[Json] = [{"metadata": {}}, {"spec": {"template": {}}}, {"spec": None}, of_pod(hostAliases=[])]
    for untouched in others:
        assert fit(untouched) == ([untouched], [])
    path = "/spec/template/spec/containers/{}/image"
    steps = [{"op": "replace", "path": path.format(number), "value": "a"} for number in (0, 1)]
    assert fit(steps, "json") == ([steps[:1]], [path.format(1)])
    assert fit([{"op": "add", "path": "/spec/template/spec/containers/-", "value": added}], "json")[1] == []


async def test_what_ktpy_needs_may_not_be_patched(store: ObjectStore, store_api: Api) -> None:
    furnish(store)
    plan = await prepare(store_api, DevOptions("web"), SessionIdentity("a", "a@laptop", KEY))
    made = dev_deployment(plan, replicas=0)
    harmless = deepcopy(made)
    harmless["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    harmless["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert is_whole(harmless, made, "web")
    for path, value in (
        (("spec", "replicas"), 2),
        (("metadata", "labels"), {}),
        (("spec", "template", "metadata", "annotations"), {}),
        (("spec", "template", "spec", "containers"), []),
        (("spec", "template", "spec", "initContainers"), None),
        (("spec", "template", "spec", "containers", 0, "command"), ["sh"]),
        (("spec", "template", "spec", "containers", 0, "volumeMounts"), []),
    ):
        patched = deepcopy(made)
        *outer, key = path
        inner = patched
        for one in outer:
            inner = inner[one]  # type: ignore[index]
        inner[key] = value
        assert not is_whole(patched, made, "web"), path


async def test_patches_come_before_the_pod_and_before_the_original_goes(store: ObjectStore, store_api: Api) -> None:
    before = furnish(store)
    patch = DevPatch("merge", of_pod(hostNetwork=True), "patch 1 of a:1:1")
    change = await development(store_api, patches=(patch,))
    steps: list[str] = []
    await change.enter(steps.append, lambda _: None)
    assert steps == ["claim a lease", "create the dev pod", "apply patch 1 of a:1:1", "start the dev pod"]
    made = store.get(DEPLOYMENTS, change.trace.clone) or {}
    assert (made["spec"]["replicas"], made["spec"]["template"]["spec"]["hostNetwork"]) == (1, True)
    await change.leave()
    wrong = DevPatch("merge", {"spec": {"replicas": 2}}, "patch 2 of a:1:1")
    change = await development(store_api, patches=(patch, wrong))
    with pytest.raises(UsageError, match="patch 2 of a:1:1 takes away what ktpy needs"):
        await change.enter(lambda _: None, lambda _: None)
    await change.leave()
    assert essence(store) == before
