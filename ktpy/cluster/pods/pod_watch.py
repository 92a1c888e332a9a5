"""Folds the states of a pod, and the events about it, into what a session has to know of it. Pure."""

from dataclasses import replace

from ktpy.cluster.pods import pod_state
from ktpy.cluster.pods.pod_state import PodProgress, Stage
from ktpy.errors import KtpyError
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json, name_of, spec_of

UNSCHEDULABLE_GRACE_S = 3.0
"""How long the scheduler may find no node before ktpy believes it. A node that an autoscaler brings is waited for."""


@dataclass(frozen=True, slots=True)
class PodWatch:
    """A PodWatch is what is known of one pod. `seen` and `heard` return what is known after that."""

    waiting_for: str
    """What the pod waits for, in one clause, for the message of a time-out."""
    once_started: str = pod_state.NO_SESSION
    """The clause for a pod whose container runs."""
    may_restart: bool = False
    """True when the kubelet starts a container that has ended again, so that its end is no failure of the pod."""
    progress: PodProgress | None = None
    """The furthest stage that the pod has reached."""
    failure: KtpyError | None = None
    """Why the pod will never serve, or no longer does."""
    first_doubt: KtpyError | None = None
    is_node_coming: bool = False

    @property
    def doubt(self) -> KtpyError | None:
        """Why the pod may never get a node. It is believed when it stands for UNSCHEDULABLE_GRACE_S."""
        is_placed = self.progress is not None and self.progress.stage is not Stage.CREATED
        return None if is_placed or self.is_node_coming else self.first_doubt

    def seen(self, pod: Json) -> "PodWatch":
        """Return what is known once the pod has been seen like this."""
        bears_it = self.may_restart and pod_state.has_ended_container(pod)
        return replace(
            self,
            waiting_for=pod_state.describe(pod, self.once_started),
            progress=self._furthest(
                PodProgress(pod_state.stage_of(pod), name_of(pod), str(spec_of(pod).get("nodeName") or ""))
            ),
            failure=None if bears_it else pod_state.failure_of(pod),
            first_doubt=self.first_doubt or pod_state.unschedulable(pod),
        )

    def heard(self, event: Json) -> "PodWatch":
        """Return what is known after an event (core/v1) about the pod, or about its Job while there is no pod."""
        message = str(event.get("message"))
        if event.get("reason") == "Pulling" and self.progress is not None:
            return replace(self, progress=self._furthest(PodProgress(Stage.PULLING, self.progress.pod, message)))
        if (refusal := pod_state.refused_volume(event)) is not None:
            return replace(self, failure=refusal)
        if pod_state.is_node_coming(event):
            return replace(self, is_node_coming=True)
        return replace(self, waiting_for=message.rstrip(".")) if event.get("type") == "Warning" else self

    def _furthest(self, reached: PodProgress) -> PodProgress:
        """Keep the furthest stage: one may be heard of late, and a container that is started again falls back."""
        stages = list(Stage)
        if self.progress is not None and stages.index(reached.stage) <= stages.index(self.progress.stage):
            return self.progress
        return reached
