"""Where a container's environment and volumes come from, in words. Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from ktpy.kube.objects import Json

_NAMED_BY: Final = {"configMap": "name", "secret": "secretName", "persistentVolumeClaim": "claimName", "csi": "driver"}
"""Of a volume's kind: which of its fields names the object."""


class VariableSource(NamedTuple):
    """A VariableSource tells where a variable of a container comes from; of two with one name, the later counts."""

    name: str
    """`PREFIX*` is one for each key of the source."""
    source: str
    """`value`, `configmap/NAME`, `secret/NAME`, with the key where it is one, `field PATH` or `resource NAME`."""


def variable_sources(container: Json) -> Iterator[VariableSource]:
    """Yield the sources of a container's `env` and `envFrom`, as Kubernetes applies them."""
    for whole in container.get("envFrom") or []:
        kind = "secret" if whole.get("secretRef") else "configmap"
        reference = whole.get("secretRef") or whole.get("configMapRef") or {}
        yield VariableSource(f"{whole.get('prefix') or ''}*", f"{kind}/{reference.get('name')}")
    for one in container.get("env") or []:
        yield VariableSource(one["name"], _source(one.get("valueFrom") or {}))


def _source(reference: Json) -> str:
    for kind, what in reference.items():
        if kind in ("configMapKeyRef", "secretKeyRef"):
            return f"{kind.removesuffix('KeyRef').lower()}/{what.get('name')}, key {what.get('key')}"
        if kind == "fieldRef":
            return f"field {what.get('fieldPath')}"
        if kind == "resourceFieldRef":
            return f"resource {what.get('resource')}"
    return next(iter(reference), "value")


def volume_source(volume: Json) -> str:
    """Return a volume's kind, as its field is called, and the name of its object where it has one."""
    kind = next((key for key in volume if key != "name"), "emptyDir")
    name = (volume[kind] or {}).get(_NAMED_BY.get(kind, "")) if kind in volume else None
    return f"{kind} {name}" if name else kind
