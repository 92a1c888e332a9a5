"""Which pods a gateway has, who may come in, and whether the Service's traffic goes to them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing, suppress

from ktpy.aio.task_group import task_group
from ktpy.cluster.changes.gateway_manifest import SSH_PORT_NAME
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.names import GATEWAY, SESSION, authorized_key_annotation, authorized_sessions
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.pod_watch import UNSCHEDULABLE_GRACE_S, PodWatch
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.errors import ApiRefused, KtpyError, PodNotReady
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.objects import (
    Json,
    annotations_of,
    conditions_of,
    endpoints_of,
    is_being_deleted,
    labels_of,
    name_of,
    status_of,
)
from ktpy.kube.refusals import Conflict, NotFound, admission_refusal
from ktpy.kube.resources import ENDPOINT_SLICES, PODS
from ktpy.kube.watch import Delete, Synced, Upsert, list_all, watch, watch_object
from ktpy.kube.writes import annotate
from ktpy.wire.pod import SSHD_PORT

SETTLED_S = 0.25
"""How long a pod has to be ready, at least, before others may depend on it.

The kubelet may take a pod's first readiness back: where a sync of the pod is under way when its probe succeeds, the
status that the sync has computed before is written over the new one, until the next sync up to a second later
(kubernetes/kubernetes#103717; seen once in 335 starts on a busy node, the one write 0.1 s after the other).
"""
STARTS_WITHIN_S = 0.75
"""A pod is ready so long after it was created, where the node has nothing else to do."""


@dataclass(frozen=True, slots=True)
class GatewayPod:
    """A pod that is not on its way out, and lets this session in."""

    name: str
    uid: str
    ssh_port: int


class GatewayPods:
    """The pods of one Service's gateway, as one session uses them."""

    def __init__(self, api: Api, interceptee: Interceptee, session: SessionIdentity, *, is_shared: bool = True) -> None:
        """A gateway that is not shared is the session's own: pods of another's with that name are none of it."""
        self._api, self._interceptee, self._session = api, interceptee, session
        self._labels = f"{GATEWAY}={interceptee.name}" + ("" if is_shared else f",{SESSION}={session.id}")
        self._path = PODS.path(interceptee.namespace)
        self.is_leaving = False
        """Whether the session is on its way out: its key, once withdrawn, is not added again."""

    async def follow(self) -> AsyncGenerator[tuple[GatewayPod, ...], None]:
        """All pods of the gateway, again after each change, for ever; each has this session's key when it is told.

        A pod can be dialled as soon as it is told: it need not be ready, and may not have started yet.
        """
        async with aclosing(self._follow_raw()) as states:
            async for pods in states:
                yield tuple(map(_gateway_pod, pods))

    async def until_ready(
        self,
        generation: str,
        timeout_s: float,
        on_progress: Callable[[PodProgress], None] = lambda _: None,
        *,
        is_in_use: bool = False,
    ) -> None:
        """Wait until a pod of this generation relays, for a while if none `is_in_use`, and the controllers know it.

        A Service that selected the pod before would have no endpoint for an instant. Raises what keeps the pod from
        relaying, as soon as that is known: ImagePullFailed, PodUnschedulable, PodFailed, QuotaExceeded,
        PodSecurityRefused, and PodNotReady after the time.
        """
        waiting = _Waiting(generation, on_progress, is_in_use=is_in_use)
        try:
            async with asyncio.timeout(timeout_s), task_group() as tasks:
                judging = tasks.create_task(self._judge(waiting, tasks), name="watch the pods")
                await self._counted(generation)
                await waiting.settled.wait()
                judging.cancel()
                waiting.stop()
        except TimeoutError as exc:
            raise PodNotReady(
                f"The gateway of {self._interceptee.name} was not ready within {timeout_s:g} s: {waiting.reason}.",
                hint="Allow more time with --pod-timeout.",
            ) from exc

    async def _judge(self, waiting: "_Waiting", tasks: asyncio.TaskGroup) -> None:
        async with aclosing(self._follow_raw()) as states:
            async for pods in states:
                waiting.judge(pods, tasks)

    async def _follow_raw(self) -> AsyncGenerator[list[Json], None]:
        pods: dict[str, Json] = {}
        is_synced = False
        async with aclosing(watch(self._api, self._path, labels=self._labels)) as events:
            async for event in events:
                match event:
                    case Upsert(pod):
                        pods.pop(pod["metadata"]["name"], None)
                        if _is_staying(pod) and await self._let_in(pod):
                            pods[pod["metadata"]["name"]] = pod
                    case Delete(pod):
                        pods.pop(pod["metadata"]["name"], None)
                    case Synced():
                        is_synced = True
                if is_synced:
                    yield list(pods.values())

    async def _let_in(self, pod: Json) -> bool:
        """Add this session's public key to the pod, unless it is there; False when the pod is gone."""
        key = {authorized_key_annotation(self._session.id): self._session.public_key}
        if self.is_leaving or not self._session.public_key or key.items() <= annotations_of(pod).items():
            return True
        with suppress(NotFound, Conflict):
            await annotate(self._api, f"{self._path}/{name_of(pod)}", pod, key)
            return True
        return False

    async def _counted(self, generation: str) -> None:
        """Wait until the Deployment counts a ready pod, or raise why there is none: its condition ReplicaFailure.

        The controllers that count the pods and that make EndpointSlices of them are one process
        (kube-controller-manager) and look at the same copy of the pods.
        """
        gateway = self._interceptee.gateway(self._api)
        async with aclosing(watch_object(self._api, gateway.collection, gateway.name)) as states:
            async for found in states:
                if found is None:
                    continue
                if status_of(found).get("readyReplicas") and _generation(found) == generation:
                    return
                for condition in conditions_of(found):
                    if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                        message = str(condition.get("message") or "")
                        raise admission_refusal(message) or ApiRefused(f"The gateway's pod is refused: {message}")


def settling_s(start_s: float) -> float:
    """How long a pod has to be ready that took so long to become it: up to twice SETTLED_S on a slow node."""
    return SETTLED_S * min(max(start_s / STARTS_WITHIN_S, 1.0), 2.0)


class _Waiting:
    """What a gateway that is not ready waits for."""

    def __init__(self, generation: str, on_progress: Callable[[PodProgress], None], *, is_in_use: bool) -> None:
        self.reason = "its pod has not been created"
        self.settled = asyncio.Event()
        self._generation = generation
        self._is_in_use = is_in_use
        self._on_progress = on_progress
        self._pods: dict[str, PodWatch] = {}
        self._told: set[PodProgress] = set()
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._settling: asyncio.TimerHandle | None = None
        self._doubting: asyncio.Task[None] | None = None

    def judge(self, pods: list[Json], tasks: asyncio.TaskGroup) -> None:
        """Take note of the pods as they are now. Raises when none will ever be ready."""
        ours = [raw for raw in pods if _generation(raw) == self._generation]
        # A container that has crashed is started again: the pod is given up when the kubelet takes its time over that.
        fresh = PodWatch("", once_started="its container runs, but is not ready", may_restart=True)
        self._pods = {name_of(raw): self._pods.get(name_of(raw), fresh).seen(raw) for raw in ours}
        if any(map(_is_ready, ours)):
            self.reason = "its pod is ready, but the cluster's controllers have not noticed"
            if self._settling is None:
                wait_s = 0.0 if self._is_in_use else settling_s(self._loop.time() - self._began_s)
                self._settling = self._loop.call_later(wait_s, self.settled.set)
            return
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
            self.settled.clear()
        for pod in self._pods.values():
            if pod.failure is not None:
                raise pod.failure
            self.reason = pod.waiting_for
            if pod.doubt is not None and self._doubting is None:
                self._doubting = tasks.create_task(self._give_up(pod.doubt), name="wait for a node")
            if pod.progress is not None and pod.progress not in self._told:
                self._told.add(pod.progress)
                self._on_progress(pod.progress)

    def stop(self) -> None:
        if self._doubting is not None:
            self._doubting.cancel()

    async def _give_up(self, doubt: KtpyError) -> None:
        await asyncio.sleep(UNSCHEDULABLE_GRACE_S)
        if all(pod.doubt is not None for pod in self._pods.values()):
            raise doubt


async def withdraw_keys(api: Api, interceptee: Interceptee, gone: Collection[str]) -> None:
    """Take the keys of these sessions from the gateway's pods."""
    for pod in await _pods(api, interceptee):
        if keys := authorized_sessions(annotations_of(pod)) & set(gone):
            with suppress(NotFound, Conflict):  # the pod is gone, and the keys with it
                path = PODS.path(interceptee.namespace, name_of(pod))
                await annotate(api, path, pod, dict.fromkeys(map(authorized_key_annotation, sorted(keys))))


async def has_pods(api: Api, interceptee: Interceptee, generation: str) -> bool:
    """Whether pods of this generation are at work, also ones that are ending."""
    return any(_generation(pod) == generation and not _has_ended(pod) for pod in await _pods(api, interceptee))


async def is_served_by_gateway(api: Api, interceptee: Interceptee) -> tuple[bool, bool]:
    """Whether the Service's endpoints hold pods of its gateway, and whether they hold others that are ready."""
    of_service = f"kubernetes.io/service-name={interceptee.name}"
    path = ENDPOINT_SLICES.path(interceptee.namespace)
    async with task_group() as tasks:
        listing = tasks.create_task(_pods(api, interceptee), name="list the gateway's pods")
        slices = [item async for item in list_all(api, path, labels=of_service)]
    uids = {pod["metadata"]["uid"] for pod in listing.result()}
    endpoints = [endpoint for item in slices for endpoint in endpoints_of(item)]
    ours = [(endpoint.get("targetRef") or {}).get("uid") in uids for endpoint in endpoints]
    ready = [(endpoint.get("conditions") or {}).get("ready") is not False for endpoint in endpoints]
    return any(ours), any(is_ready and not is_ours for is_ready, is_ours in zip(ready, ours, strict=True))


async def _pods(api: Api, interceptee: Interceptee) -> list[Json]:
    path = PODS.path(interceptee.namespace)
    return [pod async for pod in list_all(api, path, labels=f"{GATEWAY}={interceptee.name}")]


def _gateway_pod(pod: Json) -> GatewayPod:
    metadata = pod["metadata"]
    ports: list[Json] = pod["spec"]["containers"][0].get("ports") or []
    ssh_port = next((port["containerPort"] for port in ports if port.get("name") == SSH_PORT_NAME), SSHD_PORT)
    return GatewayPod(metadata["name"], metadata["uid"], ssh_port)


def _is_ready(pod: Json) -> bool:
    return _condition(pod, "Ready") and bool(status_of(pod).get("podIP"))


def _condition(pod: Json, kind: str) -> bool:
    return any(one["type"] == kind and one.get("status") == "True" for one in conditions_of(pod))


def _generation(pod: Json) -> str:
    """The session that created the Deployment: a gateway that is made anew has another."""
    return labels_of(pod).get(SESSION, "")


def _is_staying(pod: Json) -> bool:
    return not is_being_deleted(pod) and not _has_ended(pod)


def _has_ended(pod: Json) -> bool:
    return status_of(pod).get("phase") in ("Failed", "Succeeded")
