"""Merges what the user wants otherwise into a pod's template, as a strategic merge patch does. Pure.

https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from collections.abc import Mapping
from typing import Any

from ktpy.kube.objects import Json, spec_of

_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""The field by which the entries of a list are the same. Other lists are replaced."""
_ADDED_BY_KUBERNETES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def overlaid(template: Json, overlay: Mapping[str, Any]) -> Json:
    """Return the template with the overlay merged into it; a null removes a field."""
    merged = dict(template)
    for key, value in overlay.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = overlaid(merged.get(key) or {}, value)
        elif key == "tolerations":
            merged[key] = [*(merged.get(key) or []), *value]
        elif key in _KEYS and isinstance(value, list):
            merged[key] = _by_key(merged.get(key) or [], value, _KEYS[key])
        else:
            merged[key] = value
    return merged


def placement_of(pod: Json) -> Json:
    """Return the overlay that lets another pod run where this one may: its node selector and tolerations."""
    spec = spec_of(pod)
    tolerations = [one for one in spec.get("tolerations") or [] if one.get("key") not in _ADDED_BY_KUBERNETES]
    placement = {"nodeSelector": spec.get("nodeSelector"), "tolerations": tolerations}
    return {"spec": {key: value for key, value in placement.items() if value}}


def _by_key(present: list[Json], wanted: list[Json], key: str) -> list[Json]:
    changes = {one.get(key): one for one in wanted}
    merged = [overlaid(one, changes.pop(one.get(key), {})) for one in present]
    return merged + list(changes.values())
