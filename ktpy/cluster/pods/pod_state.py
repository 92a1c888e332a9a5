"""Reads from a pod's status, and from events, how far the pod has come and what is wrong with it. Pure."""

import re
from collections.abc import Iterable
from enum import StrEnum

from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.cluster.pods.image import bringing
from ktpy.errors import ImagePullFailed, KtpyError, PodFailed, PodUnschedulable
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json, conditions_of, is_being_deleted, name_of, spec_of, status_of
from ktpy.kube.refusals import admission_refusal

_NO_IMAGE = "InvalidImageName"
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        _NO_IMAGE,
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)  # k8s.io/kubernetes/pkg/kubelet/images/types.go, k8s.io/cri-api/pkg/errors
_START_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff"}
)
_ABSENT = re.compile(r"(configmap|secret) \"([^\"]+)\" not found")
NO_SESSION = "its container runs, but no SSH session came about"
_NODE_IS_COMING = frozenset({"TriggeredScaleUp", "Nominated"})  # cluster-autoscaler, Karpenter


class Stage(StrEnum):
    """Stages follow in this order. A pod may pass a stage unseen."""

    CREATED = "created"
    SCHEDULED = "scheduled"
    PULLING = "pulling"
    STARTED = "started"


@dataclass(frozen=True, slots=True)
class PodProgress:
    """The pod has reached a stage; `detail` is the node, or the image that is pulled."""

    stage: Stage
    pod: str
    detail: str = ""

    def __str__(self) -> str:
        where = {
            Stage.CREATED: "created",
            Stage.SCHEDULED: f"scheduled on {self.detail}",
            Stage.PULLING: self.detail,
            Stage.STARTED: "started",
        }
        return f"{self.pod}: {where[self.stage]}"


def stage_of(pod: Json) -> Stage:
    """Return the stage that the pod itself shows. Only events say that its image is pulled."""
    if any("running" in state or "terminated" in state for state in _container_states(pod)):
        return Stage.STARTED
    return Stage.SCHEDULED if spec_of(pod).get("nodeName") else Stage.CREATED


def failure_of(pod: Json) -> KtpyError | None:
    """Return why this pod will never serve, or no longer does; None while it may."""
    name, status = name_of(pod), status_of(pod)
    for state in _container_states(pod):
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        reason, message = waiting.get("reason"), _clause(waiting.get("message") or "no more is known")
        if reason in _IMAGE_REASONS:
            return ImagePullFailed(
                f"The node cannot pull the image of pod {name} ({reason}): {message}.",
                hint="Name another with --image." if reason == _NO_IMAGE else bringing(_image(pod), message),
            )
        if reason in _START_REASONS:
            hint = "Create it, or mark it optional in the workload." if _ABSENT.search(message) else None
            return PodFailed(f"The pod {name} cannot start ({reason}): {message}.", hint=hint)
        if terminated is not None and not status.get("reason"):
            words = _clause(
                ": ".join(filter(None, (terminated.get("reason"), terminated.get("message")))) or "no reason"
            )
            return PodFailed(f"The pod {name} ended with exit code {terminated.get('exitCode')} ({words}).")
    if status.get("phase") in ("Failed", "Succeeded"):
        why = _disruption(pod) or status.get("message") or status.get("reason") or f"its phase is {status['phase']}"
        return PodFailed(f"The pod {name} ended: {_clause(why)}.")
    if is_being_deleted(pod):
        why = _disruption(pod)
        return PodFailed(f"The pod {name} was deleted{f': {why}' if why else ''}.")
    return None


def unschedulable(pod: Json) -> PodUnschedulable | None:
    """Return why the scheduler finds no node at present. A cluster that grows on demand may still bring one."""
    for condition in conditions_of(pod):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return PodUnschedulable(
                f"No node takes the pod {name_of(pod)}: {condition.get('message')}",
                hint="--node-selector, or tolerations in a --pod-overlay, let it run elsewhere. "
                f"See: kubectl describe pod {name_of(pod)}; kubectl get nodes",
            )
    return None


def is_node_coming(event: Json) -> bool:
    """Tell whether an autoscaler is bringing up a node for this pod."""
    return event.get("reason") in _NODE_IS_COMING


def refused_creation(event: Json) -> KtpyError | None:
    """Return why the Job controller cannot create the pod, by its FailedCreate event; None if it may succeed later."""
    return admission_refusal(event.get("message") or "") if event.get("reason") == "FailedCreate" else None


def refused_volume(event: Json) -> KtpyError | None:
    """Return why a volume cannot be mounted, by an event about the pod; None if it may succeed later."""
    message = str(event.get("message"))
    if event.get("reason") == "FailedMount" and (match := _ABSENT.search(message)):
        return PodFailed(f"A volume cannot be mounted: there is no {match[1]} {match[2]}, which the pod asks for.")
    if event.get("reason") == "FailedAttachVolume" and "Multi-Attach" in message:
        return PodFailed(
            f"A claim is in use on another node: {_clause(message)}.",
            hint="`ktpy run --volumes none` leaves the claims out.",
        )
    return None


def has_ended_container(pod: Json) -> bool:
    """Tell whether one of its containers has ended and has not been started again yet."""
    return any("terminated" in state for state in _container_states(pod))


def describe(pod: Json, once_started: str = NO_SESSION) -> str:
    """Say in one clause what the pod waits for, for the message of a time-out."""
    if (problem := unschedulable(pod)) is not None:
        return problem.message.rstrip(".")
    for state in _container_states(pod):
        if reason := (state.get("waiting") or {}).get("reason"):
            return f"its container waits ({reason})"
    return {
        Stage.STARTED: once_started,
        Stage.SCHEDULED: "its container has not started",
    }.get(stage_of(pod), "it is not scheduled yet")


def _container_states(pod: Json) -> Iterable[Json]:
    """Yield the states of the containers; one beside the agent's that has ended well has done its work."""
    status = status_of(pod)
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or []:
            state = container.get("state") or {}
            if container.get("name") == CONTAINER or (state.get("terminated") or {}).get("exitCode") != 0:
                yield state


def _image(pod: Json) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def _disruption(pod: Json) -> str:
    """Say who disturbed the pod: eviction, preemption, a drained node (KEP-3329)."""
    for condition in conditions_of(pod):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _clause(str(condition.get("message") or condition.get("reason")))
    return ""


def _clause(words: str) -> str:
    return words.rstrip(" .\n")
