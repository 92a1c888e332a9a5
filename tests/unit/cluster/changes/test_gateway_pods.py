import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from ktpy.cluster.changes import gateway_pods
from ktpy.cluster.changes.gateway_pods import GatewayPods, withdraw_keys
from ktpy.cluster.names import GATEWAY, SESSION, authorized_key_annotation
from ktpy.cluster.pods.pod_state import PodProgress, Stage
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.errors import ImagePullFailed, PodFailed, PodNotReady, PodUnschedulable, QuotaExceeded
from ktpy.kube.client import Api
from tests.unit.cluster.gateway_cases import KEY, identity
from tests.unit.kube.object_store import DEPLOYMENTS, PODS, ObjectStore

NAME = "web-ktpy-gateway"


def pods_of(api: Api) -> GatewayPods:
    return GatewayPods(api, Interceptee("shop", "web"), identity("a"))


def gateway_pod(name: str = "g1", *, ready: bool = True, generation: str = "a", **status: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": str(ready)}, *status.pop("conditions", [])]
    return {
        "metadata": {"name": name, "labels": {GATEWAY: "web", SESSION: generation}},
        "spec": {"nodeName": "n1", "containers": [{"image": "agent:1", "ports": []}]},
        "status": {"phase": "Running", "podIP": "10.1.0.9", "conditions": conditions, **status},
    }


def waiting(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "no"}}}]}


async def until_ready(api: Api, timeout_s: float = 5.0) -> None:
    await pods_of(api).until_ready("a", timeout_s)


class TestFollow:
    @pytest.fixture
    async def seen(self, store: ObjectStore, store_api: Api) -> Any:
        told: asyncio.Queue[list[str]] = asyncio.Queue()

        async def follow() -> None:
            async for pods in pods_of(store_api).follow():
                told.put_nowait([pod.name for pod in pods])

        following = asyncio.create_task(follow())
        yield told
        following.cancel()

    async def test_pods_come_and_go(self, store: ObjectStore, seen: "asyncio.Queue[list[str]]") -> None:
        async def until(names: list[str]) -> None:
            async with asyncio.timeout(5):
                while await seen.get() != names:
                    pass

        await until([])
        store.put(PODS, gateway_pod("g1"))
        await until(["g1"])
        store.put(PODS, gateway_pod("g2"))
        await until(["g1", "g2"])
        dying = store.get(PODS, "g1") or {}
        dying["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
        store.put(PODS, dying)
        await until(["g2"])
        store.remove(PODS, "g2")
        await until([])

    async def test_each_lets_this_session_in(self, store: ObjectStore, seen: "asyncio.Queue[list[str]]") -> None:
        store.put(PODS, gateway_pod())
        key = authorized_key_annotation("a")
        await store.until(lambda: ((store.get(PODS, "g1") or {})["metadata"].get("annotations") or {}).get(key) == KEY)

    async def test_a_key_that_was_withdrawn_stays_away_from_who_leaves(
        self, store: ObjectStore, store_api: Api
    ) -> None:
        store.put(PODS, gateway_pod())
        pods, key = pods_of(store_api), authorized_key_annotation("a")
        async with aclosing(pods.follow()) as states:
            await anext(states)
            pods.is_leaving = True
            await withdraw_keys(store_api, Interceptee("shop", "web"), {"a"})
            store.put(PODS, gateway_pod("g2"))
            while len(await anext(states)) < 2:  # all that came before is seen then
                pass
        assert key not in ((store.get(PODS, "g1") or {})["metadata"].get("annotations") or {})

    async def test_where_its_sshd_listens(self, store: ObjectStore, store_api: Api) -> None:
        made = gateway_pod()
        made["spec"]["containers"][0]["ports"] = [{"name": "ktpy-ssh", "containerPort": 2223}]
        store.put(PODS, made)
        async with aclosing(pods_of(store_api).follow()) as states:
            [found] = await anext(states)
        assert found.ssh_port == 2223


def deployment(generation: str = "a", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": NAME, "labels": {SESSION: generation}}, "status": status}


async def test_a_pod_that_is_ready(store: ObjectStore, store_api: Api) -> None:
    store.put(PODS, gateway_pod())
    store.put(DEPLOYMENTS, deployment(readyReplicas=1))
    await until_ready(store_api)


@pytest.mark.parametrize("is_in_use", [False, True])
async def test_a_pod_that_nobody_depends_on_yet_has_to_stay_ready(
    is_in_use: bool, store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first readiness may be taken back (kubernetes/kubernetes#103717)."""
    monkeypatch.setattr(gateway_pods, "SETTLED_S", 3600.0)
    store.put(PODS, gateway_pod())
    store.put(DEPLOYMENTS, deployment(readyReplicas=1))
    ready = asyncio.create_task(pods_of(store_api).until_ready("a", 0.5, is_in_use=is_in_use))
    if is_in_use:
        await ready
        return
    with pytest.raises(PodNotReady):
        await ready


async def test_a_readiness_that_is_taken_back_does_not_count(
    store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_pods, "SETTLED_S", 0.2)
    store.put(PODS, gateway_pod())
    store.put(DEPLOYMENTS, deployment(readyReplicas=1))
    waiting_for = asyncio.create_task(until_ready(store_api))
    key = authorized_key_annotation("a")
    await store.until(lambda: key in ((store.get(PODS, "g1") or {})["metadata"].get("annotations") or {}))
    store.put(PODS, gateway_pod(ready=False))
    await asyncio.wait({waiting_for}, timeout=0.6)
    assert not waiting_for.done()
    store.put(PODS, gateway_pod())
    await waiting_for


@pytest.mark.parametrize("counted", [{}, {"readyReplicas": 1, "generation": "old"}])
async def test_a_pod_that_no_controller_has_noticed_does_not_count(
    counted: dict[str, Any], store: ObjectStore, store_api: Api
) -> None:
    store.put(PODS, gateway_pod())
    store.put(DEPLOYMENTS, deployment(**counted))
    with pytest.raises(PodNotReady, match="the cluster's controllers have not noticed"):
        await until_ready(store_api, timeout_s=0.2)


async def test_the_pod_of_an_earlier_gateway_does_not_count(store: ObjectStore, store_api: Api) -> None:
    store.put(PODS, gateway_pod(generation="old"))
    with pytest.raises(PodNotReady, match="its pod has not been created"):
        await until_ready(store_api, timeout_s=0.2)


async def test_progress(store: ObjectStore, store_api: Api) -> None:
    told: list[PodProgress] = []
    store.put(PODS, gateway_pod(ready=False))
    waiting_for = asyncio.create_task(pods_of(store_api).until_ready("a", 5.0, told.append))
    await store.until(lambda: bool(told))
    store.put(PODS, gateway_pod())
    store.put(DEPLOYMENTS, deployment(readyReplicas=1))
    await waiting_for
    assert told == [PodProgress(Stage.SCHEDULED, "g1", "n1")]


@pytest.mark.parametrize(("start_s", "times"), [(0.0, 1.0), (0.7, 1.0), (1.5, 2.0), (60.0, 2.0)])
def test_a_node_that_starts_pods_slowly_is_given_more_time(start_s: float, times: float) -> None:
    assert gateway_pods.settling_s(start_s) == pytest.approx(times * gateway_pods.SETTLED_S)


async def test_an_image_that_cannot_be_pulled(store: ObjectStore, store_api: Api) -> None:
    store.put(PODS, gateway_pod(ready=False, **waiting("ErrImagePull")))
    with pytest.raises(ImagePullFailed):
        await until_ready(store_api)


async def test_a_crash_loop(store: ObjectStore, store_api: Api) -> None:
    store.put(PODS, gateway_pod(ready=False, **waiting("CrashLoopBackOff")))
    with pytest.raises(PodFailed):
        await until_ready(store_api)


async def test_one_crash_is_waited_for(store: ObjectStore, store_api: Api) -> None:
    terminated: dict[str, Any] = {"containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}
    store.put(PODS, gateway_pod(ready=False, **terminated))
    with pytest.raises(PodNotReady, match="not ready within"):
        await until_ready(store_api, timeout_s=0.2)


async def test_a_quota(store: ObjectStore, store_api: Api) -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: small"}
    store.put(DEPLOYMENTS, deployment(conditions=[condition]))
    with pytest.raises(QuotaExceeded, match="exceeded quota: small"):
        await until_ready(store_api)


async def test_no_node(store: ObjectStore, store_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_pods, "UNSCHEDULABLE_GRACE_S", 0.05)
    doubt = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    made = gateway_pod(ready=False, conditions=[doubt])
    del made["spec"]["nodeName"]
    store.put(PODS, made)
    with pytest.raises(PodUnschedulable, match="0/1 nodes"):
        await until_ready(store_api)
