"""Finds the agents that run in a namespace, of whomever, and their versions."""

import re
from dataclasses import asdict

from ktpy import __version__
from ktpy.cluster.changes.dev_manifest import INSTALLER
from ktpy.cluster.names import MANAGED_BY, OWNER, ROLE
from ktpy.cluster.pods.agent_pod import CONTAINER
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, name_of, spec_of, status_of
from ktpy.kube.resources import PODS
from ktpy.kube.watch import list_all

_VERSION = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True)
class Agent:
    """An Agent is one in a pod."""

    pod: str
    role: str = "shadow"
    """shadow, gateway, preview or dev."""
    owner: str | None = None
    """Whoever had the pod made, as a label can hold it."""
    image: str | None = None
    version: str | None = None
    """By the image's tag; None where that tells none."""

    def data(self, told: str | None) -> dict[str, str | None]:
        """Return it as `ktpy version` shows it, with the version that it has told or else its image."""
        return asdict(self) | {"version": told, "difference": difference(told)}


async def find(api: Api) -> list[Agent]:
    """Return those of the namespace whose pods have not ended."""
    pods = [one async for one in list_all(api, PODS.path(api.namespace), labels=f"{MANAGED_BY}=ktpy")]
    found = [_agent(one) for one in pods if status_of(one).get("phase") not in ("Succeeded", "Failed")]
    return sorted((one for one in found if one is not None), key=lambda one: one.pod)


def _agent(pod: Json) -> Agent | None:
    spec, marks = spec_of(pod), labels_of(pod)
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    image = next((one["image"] for one in containers if one["name"] in (CONTAINER, INSTALLER)), None)
    if image is None:
        return None
    _, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return Agent(name_of(pod), marks.get(ROLE, ""), marks.get(OWNER), image, tag if _VERSION.match(tag) else None)


def difference(version: str | None) -> str | None:
    """Return how a version of ktpy stands to this one: `older`, `newer` or `another`; None where it is the same, or
    unknown."""
    if version in (None, __version__):
        return None
    theirs, own = _numbers(version or ""), _numbers(__version__)
    return "another" if theirs in ([], own) else "older" if theirs < own else "newer"


def _numbers(version: str) -> list[int]:
    found = _VERSION.match(version)
    return list(map(int, found[0].split("."))) if found else []
