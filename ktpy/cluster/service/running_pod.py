"""The environment of a workload's pod that runs, by `exec`: with what its image and its entry point have set."""

from typing import Final, NamedTuple

from ktpy.cluster.names import MANAGED_BY
from ktpy.cluster.pods.clothes import chosen_container
from ktpy.cluster.service.workload import Workload
from ktpy.errors import TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.exec import output_of
from ktpy.kube.objects import Json, labels_of, metadata_of, name_of, spec_of, status_of
from ktpy.kube.resources import PODS
from ktpy.kube.watch import list_all
from ktpy.wire.surroundings import parse_environ

_FIRST, _OWN = "/proc/1/environ", "/proc/self/environ"
"""Of the container's first process, with what a script before the program has set; and of any other."""
_HINT: Final = "--from-pod runs `cat` in the container; without it, the environment is all but what the image sets."


class RunningPod(NamedTuple):
    """A RunningPod is one of a workload's, as its container was started."""

    name: str
    environment: dict[str, str]


async def running_pod(api: Api, workload: Workload, container: str | None) -> RunningPod:
    """Return a pod of the workload, the newest that is ready, with its environment.

    Raises TargetAbsent where none runs, TargetUnsuitable where its container has no `cat`, RightMissing, and what
    `chosen_container` raises.
    """
    chosen = chosen_container(workload.template, container)["name"]
    pods = [one for one in await pods_of(api, workload) if _runs(one, chosen)]
    if not pods:
        raise TargetAbsent(
            f"{workload.reference} has no pod whose container {chosen} runs; nothing was changed.",
            hint="Without --from-pod none is needed.",
        )
    pod = max(pods, key=lambda one: (is_ready(one), metadata_of(one).get("creationTimestamp") or ""))
    is_shared = spec_of(pod).get("shareProcessNamespace") or spec_of(pod).get("hostPID")
    return RunningPod(name_of(pod), await _environment(api, name_of(pod), chosen, is_shared=bool(is_shared)))


async def _environment(api: Api, pod: str, container: str, *, is_shared: bool) -> dict[str, str]:
    """The first process may be another user's, whose environment cannot be read, or another container's."""
    refused: TargetUnsuitable | None = None
    for file in (_OWN,) if is_shared else (_FIRST, _OWN):
        try:
            return parse_environ(await output_of(api, pod, container, ["cat", file]))
        except TargetUnsuitable as error:
            refused = error
    why = refused.message if refused else ""
    raise TargetUnsuitable(f"Container {container} does not tell its environment: {why}", hint=_HINT)


async def pods_of(api: Api, workload: Workload) -> list[Json]:
    """Return the pods of a workload, but for ktpy's. Raises TargetUnsuitable where they cannot be found, NotFound."""
    if workload.reference.kind == "pod":
        return [await api.request("GET", PODS.path(api.namespace, workload.reference.name))]
    labels = labels_of(workload.template) if workload.template.get("metadata") else {}
    if not labels:
        raise TargetUnsuitable(
            f"The pods of {workload.reference} have no labels by which to find them; nothing was changed.",
            hint="Name one of them: pod/NAME.",
        )
    wanted = ",".join(f"{key}={value}" for key, value in labels.items())
    found = [one async for one in list_all(api, PODS.path(api.namespace), labels=wanted)]
    return [one for one in found if labels_of(one).get(MANAGED_BY) != "ktpy"]


def _runs(pod: Json, container: str) -> bool:
    states = status_of(pod).get("containerStatuses") or []
    return any(one["name"] == container and "running" in (one.get("state") or {}) for one in states)


def is_ready(pod: Json) -> bool:
    """Tell whether a pod takes requests."""
    conditions = status_of(pod).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
