"""The shadow pod: the cluster's end of the tunnel.

shadow = Shadow(api, image=..., public_key=..., pod_timeout_s=...)
undo.push_async_callback(shadow.delete)          # before create: the Job's name is ours
tasks.create_task(shadow.supervise())            # raises what goes wrong with the pod, for as long as it runs
await shadow.create()
pod = await shadow.pod_name()                    # dial its SSHD_PORT at once, again and again
await shadow.push_deadline()                     # the SSH session stands; `supervise` repeats it
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast

from ktpy.aio.task_group import task_group
from ktpy.aio.wakes import boottime_s
from ktpy.cluster.names import SESSION, new_session_id, shadow_name
from ktpy.cluster.pods import pod_log, pod_state
from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.cluster.pods.pod_state import PodProgress, Stage
from ktpy.cluster.pods.pod_watch import UNSCHEDULABLE_GRACE_S, PodWatch
from ktpy.cluster.pods.shadow_manifest import DEADLINE_S, shadow_job, shadow_service
from ktpy.errors import Forbidden, KtpyError, PodFailed, PodNotReady
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, metadata_of
from ktpy.kube.refusals import Conflict, NotFound, may_be_done
from ktpy.kube.resources import EVENTS, JOBS, PODS, SERVICES
from ktpy.kube.watch import Delete, Upsert, watch
from ktpy.kube.writes import delete, merge_patch
from ktpy.wire.pod import SSHD_PORT

EVENTS_AFTER_S = 0.5
"""Events tell why a start takes long. One that is quicker than this does without, and saves their requests."""
DELETE_TIMEOUT_S = 5.0
LOOK_TIMEOUT_S = 2.0
PUSH_EVERY_S = 20.0
_LAST_WORDS_LINES = 10

logger = logging.getLogger(__name__)


class Shadow:
    """A Shadow is one session's shadow pod, from its creation to its end."""

    def __init__(
        self,
        api: Api,
        *,
        image: str,
        public_key: str,
        pod_timeout_s: float,
        keep_s: float = 0.0,
        pod_overlay: Mapping[str, Any] | None = None,
        is_exposed: bool = False,
        does: str = "connect",
        session: str | None = None,
        owner: str | None = None,
        on_progress: Callable[[PodProgress], None] = lambda _: None,
    ) -> None:
        """The cluster lets the pod live for `keep_s` seconds longer without a laptop than it does anyway."""
        self._api = api
        self._deadline_s = DEADLINE_S + round(keep_s)
        self.session = session or new_session_id()
        self.job = shadow_name(self.session)
        self._pod_timeout_s = pod_timeout_s
        self._on_progress = on_progress
        self.manifest = shadow_job(
            session=self.session,
            owner=owner or api.target.user,
            namespace=api.namespace,
            image=image,
            public_key=public_key,
            pod_timeout_s=pod_timeout_s,
            pod_overlay=pod_overlay,
            is_exposed=is_exposed,
            does=does,
        )
        """Of the Job that `create` makes."""
        self._job_path = JOBS.path(api.namespace, self.job)
        self._may_exist = self._is_deleting = False
        self._uid: str | None = None
        self._node_port: int | None = None
        self._created_s = 0.0
        """By a clock that goes on while the laptop sleeps (clock_gettime(2)); the Job is not older than this."""
        self._state = PodWatch("the Job controller has not created it")
        self._has_pod, self._has_started, self._is_released = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._explaining: list[asyncio.Task[None]] = []

    @property
    def pod_labels(self) -> dict[str, str]:
        return labels_of(self.manifest["spec"]["template"])

    async def create(self) -> None:
        """Create the Job. Raises Forbidden, NamespaceAbsent, QuotaExceeded and the like."""
        self._may_exist, self._created_s = True, boottime_s()
        warnings: list[str] = []
        try:
            job = await self._api.request("POST", JOBS.path(self._api.namespace), body=self.manifest, warnings=warnings)
        except KtpyError as error:
            self._may_exist = may_be_done(error)
            raise
        self._uid = metadata_of(job)["uid"]
        for warning in warnings:
            logger.info("the API server warns: %s", warning)

    async def pod_name(self) -> str:
        """Wait for the pod to exist. `supervise` must run, and ends with an error when there never will be one."""
        await self._has_pod.wait()
        assert self._state.progress is not None  # noqa: S101 - set with the event
        return self._state.progress.pod

    async def supervise(self) -> None:
        """Follow the pod until cancelled. Raises an error that says what went wrong, as soon as that is known.

        Until `push_deadline`: PodUnschedulable, ImagePullFailed, QuotaExceeded, PodSecurityRefused, PodFailed, and
        PodNotReady after the time allowed. From then on PodFailed when the pod ends, is evicted or deleted.
        """
        try:
            async with task_group() as tasks:
                tasks.create_task(self._limit_time(), name="pod time-out")
                tasks.create_task(self._keep_pushing(), name="push the Job's deadline")
                self._explaining = [
                    tasks.create_task(self._watch_job_events(), name="watch events of the Job"),
                    tasks.create_task(self._watch_pod_events(), name="watch events of the pod"),
                ]
                await self._watch_pods(tasks)
        except PodFailed as failure:
            raise failure.with_hint(failure.hint or await self._last_words()) from failure

    async def push_deadline(self) -> None:
        """End the time-out here and put off the one in the cluster, because the session stands."""
        self._is_released.set()
        age_s = boottime_s() - self._created_s
        patch = {"metadata": {"uid": self._uid}, "spec": {"activeDeadlineSeconds": round(age_s) + self._deadline_s}}
        await merge_patch(self._api, self._job_path, patch)

    async def failure_now(self) -> KtpyError | None:
        """Ask what has become of the pod; return why it will not serve any more, None while it may."""
        pod = await self.pod_name()
        try:
            found = await self._api.request("GET", PODS.path(self._api.namespace, pod), timeout_s=LOOK_TIMEOUT_S)
        except NotFound:
            return PodFailed(f"The pod {pod} is gone.")
        return pod_state.failure_of(found)

    async def delete(self, timeout_s: float = DELETE_TIMEOUT_S) -> None:
        """Remove Job and pod, also when the reply to `create` never came. They may be gone already."""
        self._is_deleting = True
        if not (self._may_exist and self._api.was_reached):  # `create` may have been cut off before it asked
            return
        with suppress(NotFound, Conflict):  # Conflict: the name is somebody else's now
            if self._uid is None:
                job = await self._api.request("GET", self._job_path, timeout_s=timeout_s)
                if labels_of(job).get(SESSION) != self.session:
                    return
                self._uid = metadata_of(job)["uid"]
            await delete(self._api, self._job_path, self._uid, timeout_s=timeout_s)

    async def host_key(self) -> str | None:
        """Return the public host key the agent printed (`ssh-ed25519 AAAA...`); None where logs may not be read."""
        return await pod_log.host_key(self._api, await self.pod_name(), CONTAINER)

    async def own_address(self) -> tuple[str, int]:
        """Return where the sshd of a pod that `is_exposed` listens; once it has started."""
        return str((await self._pod_status())["podIP"]), SSHD_PORT

    async def node_address(self) -> tuple[str, int]:
        """Return where the sshd of a pod that `is_exposed` is reached on its node, from now on; once it has started.

        The Service goes with the Job. Raises Forbidden and what else refuses it.
        """
        status = await self._pod_status()
        if self._node_port is None:
            path = SERVICES.path(self._api.namespace)
            service = await self._api.request("POST", path, body=shadow_service(self.manifest, str(self._uid)))
            self._node_port = int(service["spec"]["ports"][0]["nodePort"])
        return str(status["hostIP"]), self._node_port

    async def _pod_status(self) -> Json:
        await self._has_started.wait()  # the kubelet may tell the pod's address a second after the session stands
        found = await self._api.request("GET", PODS.path(self._api.namespace, await self.pod_name()))
        return cast(Json, found["status"])

    async def _watch_pods(self, tasks: asyncio.TaskGroup) -> None:
        is_doubted = False
        async with aclosing(
            watch(self._api, PODS.path(self._api.namespace), labels=f"{SESSION}={self.session}")
        ) as events:
            async for event in events:
                match event:
                    case Upsert(pod):
                        self._learn(self._state.seen(pod))
                        if self._state.doubt is not None and not is_doubted:
                            is_doubted = True
                            tasks.create_task(self._give_up_unless_scheduled(), name="wait for a node")
                    case Delete(pod) if self._has_pod.is_set() and not self._is_deleting:
                        raise PodFailed(f"The pod {pod['metadata']['name']} was deleted.")

    def _learn(self, now: PodWatch) -> None:
        before, self._state = self._state, now
        if now.progress is not None:
            self._has_pod.set()
        if now.failure is not None and not self._is_deleting:
            raise now.failure
        if now.progress is None or now.progress == before.progress:
            return
        if now.progress.stage is Stage.STARTED:
            self._has_started.set()
            for task in self._explaining:  # nothing is left to explain
                task.cancel()
        self._on_progress(now.progress)

    async def _limit_time(self) -> None:
        if await _happens(self._is_released, self._pod_timeout_s):
            return
        raise PodNotReady(
            f"The pod did not accept an SSH session within {self._pod_timeout_s:g} s: {self._state.waiting_for}.",
            hint="Allow more time with --pod-timeout.",
        )

    async def _keep_pushing(self) -> None:
        """Without this the cluster ends the pod, whatever its containers do: others may have injected some."""
        await self._is_released.wait()
        with suppress(NotFound, Conflict):  # the Job is gone, and the pod's watch tells
            while True:
                await asyncio.sleep(PUSH_EVERY_S)
                try:
                    await self.push_deadline()
                except KtpyError as error:  # where it lasts (rights taken away), the pod's end tells
                    if isinstance(error, NotFound | Conflict):
                        raise
                    logger.info("the deadline of %s could not be put off: %s", self.job, error)

    async def _give_up_unless_scheduled(self) -> None:
        await asyncio.sleep(UNSCHEDULABLE_GRACE_S)
        if (doubt := self._state.doubt) is not None:
            raise doubt

    async def _watch_job_events(self) -> None:
        if await _happens(self._has_pod, EVENTS_AFTER_S):
            return
        async for event in self._events(self.job):
            if (refusal := pod_state.refused_creation(event)) is not None:
                raise refusal
            if not self._has_pod.is_set():
                self._learn(self._state.heard(event))

    async def _watch_pod_events(self) -> None:
        await self._has_pod.wait()
        if await _happens(self._has_started, EVENTS_AFTER_S):
            return
        async for event in self._events(await self.pod_name()):
            self._learn(self._state.heard(event))

    async def _events(self, name: str) -> AsyncIterator[Json]:
        path = EVENTS.path(self._api.namespace)
        with suppress(Forbidden):
            async with aclosing(watch(self._api, path, fields=f"involvedObject.name={name}")) as events:
                async for event in events:
                    if isinstance(event, Upsert):
                        yield event.obj

    async def _last_words(self) -> str | None:
        if self._state.progress is None:
            return None
        path = PODS.path(self._api.namespace, self._state.progress.pod, "log")
        query = {"container": CONTAINER, "tailLines": str(_LAST_WORDS_LINES)}
        with suppress(KtpyError):
            text = await self._api.text(path, query=query)
            return f"Its log ends:\n{text.strip()}" if text.strip() else None
        return None


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()
    return event.is_set()
