"""What the cluster says of how a workload is developed: an annotation of it, or a ConfigMap of its application.

https://nocalhost.dev/docs/config/config-en: Nocalhost's names, and the order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ktpy.cluster import rbac
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import find_workload
from ktpy.errors import Forbidden, TargetAbsent
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import CONFIG_MAPS
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import DevOptions

ANNOTATIONS: Final = ("ktpy.dev/config", "dev.nocalhost")
_APPLICATION: Final = ("dev.nocalhost/application-name", "meta.helm.sh/release-name")
"""Annotations that name a workload's application."""


@dataclass(frozen=True, slots=True)
class Text:
    """A Text is what an object of the cluster says of a workload."""

    name: str
    """Where it is, for people."""
    text: str
    workload: str
    is_of_workload: bool = True
    """Whether it is the workload's own, and need not name it."""


def texts(options: DevOptions) -> list[Text]:
    """Return what the cluster says of the workload, what counts first first; nothing where the user may not know."""
    return ClusterRef(options.kubeconfig, options.context, options.namespace).run(
        lambda api: look(api, options.target), rbac.DEV
    )


async def look(api: Api, target: str) -> list[Text]:
    """Do the work of `texts`. A workload that there is not is told by whoever needs it."""
    try:
        reference = (await find_workload(api, Reference.parse(target))).reference
        annotations = annotations_of(await targets.fetch_workload(api, reference))
        found = [
            Text(f"annotation {key} of {reference}", annotations[key], str(reference))
            for key in ANNOTATIONS
            if key in annotations
        ]
        return found + await _of_application(api, annotations, str(reference))
    except (TargetAbsent, Forbidden):
        return []


async def _of_application(api: Api, annotations: Mapping[str, str], workload: str) -> list[Text]:
    application = next((annotations[key] for key in _APPLICATION if key in annotations), "")
    if not application:
        return []
    name = f"dev.nocalhost.config.{application}"
    try:
        found: Json = await api.request("GET", CONFIG_MAPS.path(api.namespace, name))
    except (NotFound, Forbidden):
        return []
    text = (found.get("data") or {}).get("config")
    return [Text(f"ConfigMap {name}", text, workload, is_of_workload=False)] if text else []
