"""What `ktpy dev` changes in a cluster, from the first object to the last.

A Lease comes first, by which others see that the session lives, then a Deployment with the dev pod. The original serves
until the dev pod is ready, and is switched off then. When it ends the original is switched on first, and the dev pod
goes when that is ready. Each step reads what there is instead of trusting memory: it may be repeated, by anyone.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

from ktpy.aio.poll import poll_until
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster.changes import dev_patches, dev_switch, dev_volumes
from ktpy.cluster.changes.dev_manifest import DevPlan, clone_name, dev_deployment
from ktpy.cluster.changes.dev_pod import DevPod, is_ready
from ktpy.cluster.changes.options import DevPatch, PersistentDir
from ktpy.cluster.names import SESSION
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.cluster.steps import Step, run_steps
from ktpy.errors import ApiRefused, KtpyError, PodNotReady, RouteTaken, UsageError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, is_being_deleted, labels_of, metadata_of
from ktpy.kube.refusals import Conflict, NotFound, may_be_done
from ktpy.kube.resources import DEPLOYMENTS, PODS
from ktpy.kube.watch import list_all
from ktpy.kube.writes import merge_patch, patch_object

BACK_TIMEOUT_S: Final = 120.0
"""How long the dev pod serves on while the original's pods start."""
GONE_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Trace:
    """A Trace is what has to be known of dev sessions to undo them."""

    namespace: str
    reference: Reference
    clone: str
    """The name of their Deployment."""
    sessions: frozenset[str]
    is_exclusive: bool = False
    """As in the plan."""

    @property
    def clone_path(self) -> str:
        return DEPLOYMENTS.path(self.namespace, self.clone)

    @property
    def workload_path(self) -> str:
        resource = self.reference.resource
        assert resource is not None  # noqa: S101 - only kinds of `SWITCHES` are developed
        return resource.path(self.namespace, self.reference.name)


class DevChange:
    """A DevChange is what one session changes.

    undo.push_async_callback(change.leave)         # before `enter`: undoes it from wherever it stopped
    tasks.create_task(change.lease.keep(...))
    pod = await change.enter(on_step, on_progress) # the dev container runs; the original serves still
    await change.take_over()                       # once the dev pod is ready
    """

    def __init__(self, api: Api, plan: DevPlan, pod_timeout_s: float) -> None:
        self._api, self._plan, self._pod_timeout_s = api, plan, pod_timeout_s
        self.trace = Trace(plan.namespace, plan.reference, plan.clone, frozenset({plan.session}), plan.is_exclusive)
        self.lease = OwnLease(
            api,
            session=plan.session,
            owner=plan.owner,
            target=plan.clone,
            description=f"develops {plan.reference}",
            details=plan.details,
            role=LEASE_ROLE,
        )
        self.pod = DevPod(api, plan.session, plan.clone, plan.container)
        self.may_exist = False
        self._kept: dev_switch.Developed | None = None
        """What the original's annotation says, once that is switched off."""
        self._uid: str | None = None
        """Of the dev pod's Deployment."""

    async def enter(self, on_step: Callable[[str], None], on_progress: Callable[[PodProgress], None]) -> Json:
        """Make the dev pod; return it once its container runs. Raises RouteTaken, and what keeps it from running."""
        first: tuple[Step, ...] = (
            Step("claim a lease", self._claim),
            *(Step(f"claim a volume for {one.path}", partial(self._provide, one)) for one in self._plan.persistent),
            Step("create the dev pod", self._create),
            *(Step(f"apply {one.place}", partial(self._patch, one)) for one in self._plan.patches),
        )
        if self._plan.is_exclusive:
            first += (
                Step("switch the original off", self.take_over),
                Step("wait for its pods to go", self._wait_gone),
            )
        if self._starts_later:
            first += (Step("start the dev pod", self._start),)
        await run_steps(first, on_step)
        return await self.pod.running(self._pod_timeout_s, on_progress)

    async def take_over(self) -> bool:
        """Switch the original off, unless it is, or need not be. Returns whether it was switched.

        A cancellation waits for the answer: `leave` has to see what the write has changed.
        """
        switch = self._switch
        return switch is not None and await uninterrupted(self._switch_off, switch)

    async def _switch_off(self, switch: dev_switch.Switch) -> bool:
        plan = self._plan

        def off(found: Json) -> Json | None:
            before = dev_switch.read(found)
            if before is not None and before.session != plan.session:
                raise taken(str(plan.reference), before.owner)
            return dev_switch.switching_off(found, switch, plan.session, plan.owner)

        found, is_changed = await patch_object(self._api, self.trace.workload_path, off)
        self._kept = dev_switch.read(found)
        return is_changed

    async def leave(self, on_step: Callable[[str], None] = lambda _: None) -> None:
        """Undo all of it, from wherever it stopped. Raises what the API server refuses."""
        if self.may_exist:
            kept = self._kept if await self._has_clone() else None  # else others have ended it
            await run_steps(removal(self._api, self.trace, kept), on_step)

    async def _has_clone(self) -> bool:
        try:
            return metadata_of(await self._api.request("GET", self.trace.clone_path))["uid"] == self._uid
        except NotFound:
            return False

    @property
    def replaces(self) -> bool:
        """Whether the original is switched off once the dev pod is ready."""
        return self._switch is not None

    @property
    def _switch(self) -> dev_switch.Switch | None:
        return dev_switch.SWITCHES[self._plan.reference.kind] if self._plan.replaces else None

    async def _claim(self) -> None:
        self.may_exist = True
        try:
            await self.lease.claim()
        except KtpyError as error:
            self.may_exist = may_be_done(error)
            raise

    async def _provide(self, directory: PersistentDir) -> bool:
        """Make its claim, unless an earlier session has: it is meant to stay, so nothing takes it back."""
        return await dev_volumes.provide(self._api, self._plan, directory)

    @property
    def _starts_later(self) -> bool:
        return self._plan.is_exclusive or bool(self._plan.patches)

    @property
    def _manifest(self) -> Json:
        return dev_deployment(self._plan, replicas=0 if self._starts_later else 1)

    async def _create(self) -> None:
        try:
            made = await self._api.request("POST", DEPLOYMENTS.path(self._plan.namespace), body=self._manifest)
        except Conflict as exc:
            raise taken(str(self._plan.reference), "somebody") from exc
        self._uid = metadata_of(made)["uid"]

    async def _patch(self, patch: DevPatch) -> None:
        """Apply it before there is a pod. Raises UsageError for one that is wrong, or takes what ktpy needs."""
        try:
            patched = await self._api.request(
                "PATCH", self.trace.clone_path, body=patch.body, content_type=dev_patches.CONTENT_TYPES[patch.type]
            )
        except ApiRefused as exc:
            raise UsageError(f"{patch.place} cannot be applied; ktpy undid what it had begun. {exc}") from exc
        if not dev_patches.is_whole(patched, self._manifest, self._plan.container):
            raise UsageError(
                f"{patch.place} takes away what ktpy needs in the dev pod; ktpy undid what it had begun.",
                hint="It may not change replicas, what is named ktpy, or the command of the dev container.",
            )

    async def _wait_gone(self) -> None:
        found = await self._api.request("GET", self.trace.workload_path)
        await _until_no_pods(self._api, self._plan.namespace, dev_switch.label_selector(found))

    async def _start(self) -> None:
        await merge_patch(self._api, self.trace.clone_path, {"metadata": {"uid": self._uid}, "spec": {"replicas": 1}})


LEASE_ROLE: Final = "dev-session"


def taken(workload: str, owner: str) -> RouteTaken:
    """Return the refusal for a workload that somebody replaces."""
    return RouteTaken(
        f"{workload} is developed by {owner} already; nothing was changed.",
        hint="`--mode duplicate` gives you a pod beside it; `ktpy dev list` shows who develops what, `ktpy clean` ends "
        f"what dead sessions have left, and `ktpy dev reset {workload}` whatever is left of any.",
    )


def removal(api: Api, trace: Trace, kept: dev_switch.Developed | None = None) -> tuple[Step, ...]:
    """Return the steps that take these sessions' changes back, wherever their entries stopped.

    `kept` is what the original's annotation said, for the case that somebody has dropped it.
    """
    return _Removal(api, trace, kept).steps


class _Removal:
    def __init__(self, api: Api, trace: Trace, kept: dev_switch.Developed | None) -> None:
        self._api, self._trace, self._kept = api, trace, kept
        self._switch = dev_switch.SWITCHES.get(trace.reference.kind)
        has_touched_it = self._switch is not None and trace.clone == clone_name(trace.reference)
        self.steps = (
            *((Step("stop the dev pod", self._stop),) if trace.is_exclusive else ()),
            *(
                (
                    Step("switch the original on", partial(self._patch, dev_switch.switching_on)),
                    Step("wait for its pods", self._wait),
                    Step("give its field back", partial(self._patch, dev_switch.closing)),
                )
                if has_touched_it
                else ()
            ),
            Step("delete the dev pod", self._delete),
            Step("delete the lease", self._release),
        )

    async def _patch(self, change: Callable[[Json, dev_switch.Switch, Collection[str]], Json | None]) -> bool:
        switch = self._switch
        if switch is None:
            return False

        def changed(item: Json) -> Json | None:
            return change(dev_switch.with_record(item, self._kept), switch, self._trace.sessions)

        try:
            return (await patch_object(self._api, self._trace.workload_path, changed))[1]
        except NotFound:  # deleted meanwhile
            return False

    async def _stop(self) -> bool:
        """Let the dev pod go before the original's come, which want what it has."""
        try:
            found = await self._api.request("GET", self._trace.clone_path)
        except NotFound:
            return False
        if labels_of(found).get(SESSION) not in self._trace.sessions or is_being_deleted(found):
            return False
        stopped = {"metadata": {"uid": metadata_of(found)["uid"]}, "spec": {"replicas": 0}}
        await merge_patch(self._api, self._trace.clone_path, stopped)
        for session in self._trace.sessions:
            await _until_no_pods(self._api, self._trace.namespace, f"{SESSION}={session}")
        return True

    async def _wait(self) -> bool:
        """Wait until the original's pods are ready, as long as the dev pod serves: else waiting keeps no request."""
        if not await self._serves():
            return False
        await poll_until(self._is_back, BACK_TIMEOUT_S)
        return True

    async def _delete(self) -> bool:
        path, sessions = self._trace.clone_path, sorted(self._trace.sessions)
        return any([await delete_own(self._api, path, one) for one in sessions])

    async def _release(self) -> None:
        for one in sorted(self._trace.sessions):
            await lease.release(self._api, self._trace.namespace, one)

    async def _is_back(self) -> bool:
        try:
            found = await self._api.request("GET", self._trace.workload_path)
        except NotFound:
            return True
        return dev_switch.serves(found, self._trace.reference.kind) or not await self._serves()

    async def _serves(self) -> bool:
        """Whether a dev pod of these sessions is ready."""
        pods = PODS.path(self._trace.namespace)
        for session in self._trace.sessions:
            if any([is_ready(pod) async for pod in list_all(self._api, pods, labels=f"{SESSION}={session}")]):
                return True
        return False


async def _until_no_pods(api: Api, namespace: str, labels: str) -> None:
    async def are_gone() -> bool:
        return not [pod async for pod in list_all(api, PODS.path(namespace), labels=labels)]

    if not await poll_until(are_gone, GONE_TIMEOUT_S):
        raise PodNotReady(
            f"Pods with {labels} have not gone within {GONE_TIMEOUT_S:g} s, and two must not share what they have.",
            hint=f"See: kubectl get pods -n {namespace} -l {labels!r}; `ktpy clean` undoes what is left.",
        )
