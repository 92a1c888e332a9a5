"""The pod in which somebody develops a workload: how far it has come, and who else's key it takes."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

from ktpy.aio.task_group import task_group
from ktpy.cluster.names import SESSION, authorized_key_annotation
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.pod_watch import UNSCHEDULABLE_GRACE_S, PodWatch
from ktpy.errors import ApiRefused, KtpyError, PodNotReady
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, conditions_of, is_being_deleted, name_of, status_of
from ktpy.kube.refusals import admission_refusal
from ktpy.kube.resources import DEPLOYMENTS, PODS
from ktpy.kube.watch import Delete, Synced, Upsert, watch, watch_object
from ktpy.kube.writes import annotate


class DevPod:
    """A DevPod follows the pods of one session's Deployment, one at a time."""

    def __init__(self, api: Api, session: str, deployment: str, container: str) -> None:
        self._api, self._session, self._deployment, self._container = api, session, deployment, container
        self._path = PODS.path(api.namespace)

    async def running(self, timeout_s: float, on_progress: Callable[[PodProgress], None]) -> Json:
        """Wait until the dev container runs, and return the pod.

        Raises ImagePullFailed, PodUnschedulable, PodFailed, QuotaExceeded, PodSecurityRefused as soon as that is known,
        and PodNotReady after the time.
        """
        seen = _Progress(on_progress)
        try:
            async with asyncio.timeout(timeout_s), task_group() as tasks:
                refusing = tasks.create_task(self._refused(), name="watch the dev deployment")
                doubting = tasks.create_task(seen.doubt(), name="wait for a node")
                async with aclosing(self.follow()) as states:
                    async for pod in states:
                        if pod is None:
                            continue
                        seen.take(pod)
                        if _runs(pod, self._container):
                            refusing.cancel()
                            doubting.cancel()
                            return pod
        except TimeoutError as exc:
            raise PodNotReady(
                f"The dev pod was not running within {timeout_s:g} s: {seen.watch.waiting_for}.",
                hint="Allow more time with --pod-timeout.",
            ) from exc
        raise PodNotReady("The dev pod is gone.")

    async def until_ready(self) -> None:
        """Wait until the pod is ready: its program listens, and the Service sends requests."""
        async with aclosing(self.follow()) as states:
            async for pod in states:
                if pod is not None and is_ready(pod):
                    return

    async def follow(self) -> AsyncGenerator[Json | None, None]:
        """Yield the pod each time it changes; None while there is none."""
        pods: dict[str, Json] = {}
        is_synced = False
        async with aclosing(watch(self._api, self._path, labels=f"{SESSION}={self._session}")) as events:
            async for event in events:
                match event:
                    case Upsert(pod):
                        pods[name_of(pod)] = pod
                    case Delete(pod):
                        pods.pop(name_of(pod), None)
                    case Synced():
                        is_synced = True
                if is_synced:
                    yield next((one for one in pods.values() if not is_being_deleted(one)), None)

    async def _refused(self) -> None:
        """Raise why the cluster makes no pod: the Deployment's condition ReplicaFailure."""
        async with aclosing(watch_object(self._api, DEPLOYMENTS.path(self._api.namespace), self._deployment)) as states:
            async for found in states:
                for one in conditions_of(found) if found is not None else ():
                    if one.get("type") == "ReplicaFailure" and one.get("status") == "True":
                        message = str(one.get("message") or "")
                        raise admission_refusal(message) or ApiRefused(f"The dev pod is refused: {message}")


class _Progress:
    """A _Progress tells how far the pod has come, each stage once."""

    def __init__(self, tell: Callable[[PodProgress], None]) -> None:
        self.watch = PodWatch("its deployment has not created it", once_started="its container does not run yet")
        self._tell = tell

    def take(self, pod: Json) -> None:
        """Take note of the pod. Raises what keeps it from running."""
        before, self.watch = self.watch, self.watch.seen(pod)
        if self.watch.failure is not None:
            raise self.watch.failure
        if self.watch.progress is not None and self.watch.progress != before.progress:
            self._tell(self.watch.progress)

    async def doubt(self) -> None:
        """Raise why no node takes the pod, once that has stood for a while."""
        while True:
            before = self.watch.doubt
            await asyncio.sleep(UNSCHEDULABLE_GRACE_S)
            if before is not None and self.watch.doubt is not None:
                raise self.watch.doubt


@asynccontextmanager
async def let_in(api: Api, pod: Json, session: str, public_key: str) -> AsyncGenerator[None, None]:
    """Let another session's key into a dev pod while the block runs."""
    key, path = authorized_key_annotation(session), PODS.path(api.namespace, name_of(pod))
    try:
        await annotate(api, path, pod, {key: public_key})
        yield
    finally:
        with suppress(KtpyError):  # the pod is gone, and the key with it
            await annotate(api, path, pod, {key: None})


def is_ready(pod: Json) -> bool:
    """Tell whether the pod is ready."""
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions_of(pod))


def _runs(pod: Json, container: str) -> bool:
    statuses = status_of(pod).get("containerStatuses") or []
    return any(one["name"] == container and "running" in (one.get("state") or {}) for one in statuses)
