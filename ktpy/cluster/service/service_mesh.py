"""Whether pods are part of a service mesh whose sidecar may take nothing but mutual TLS. Pure.

A gateway is kept out of meshes. Where one demands mutual TLS (Istio's PeerAuthentication STRICT, Linkerd's
all-authenticated), its sidecars take a gateway's connections and reset them: everybody would get 502. What is demanded
stands in objects that few users may read, so they are asked.
"""

from typing import Final

from ktpy.errors import TargetUnsuitable
from ktpy.kube.objects import Json, annotations_of, labels_of, spec_of

_MESHES: Final = {"istio-proxy": "Istio", "linkerd-proxy": "Linkerd"}
"""By the sidecar's name. Only these are kept away; others decide by themselves, and so does Istio's ambient mode."""
_DECIDING: Final = ("sidecar.istio.io/inject", "istio.io/rev", "linkerd.io/inject")
"""Labels and annotations by which a pod tells whether it wants a sidecar; without them, its namespace does."""


def mesh_of(pod: Json) -> str | None:
    """Return the name of the mesh that a pod is part of."""
    spec = spec_of(pod)
    names = [one.get("name") for part in ("containers", "initContainers") for one in spec.get(part) or []]
    return next((mesh for sidecar, mesh in _MESHES.items() if sidecar in names), None)


def membership_of(pod: Json) -> Json:
    """Return the overlay that makes another pod of the namespace as much a part of a mesh as this one."""
    return {
        "metadata": {
            "labels": {key: labels_of(pod).get(key) for key in _DECIDING},
            "annotations": {key: annotations_of(pod).get(key) for key in _DECIDING},
        }
    }


def refuse_undecided(target: str, pod: Json) -> None:
    """Raise TargetUnsuitable where a gateway outside the mesh might keep everybody off the pods of `target`."""
    if (mesh := mesh_of(pod)) is not None:
        raise TargetUnsuitable(
            f"The pods of {target} are part of a service mesh ({mesh}). Where it demands mutual TLS, they would reset "
            "what a gateway outside it sends, for everybody; nothing was changed.",
            hint="--in-mesh makes the gateway a part of the mesh, too; --not-in-mesh, if the pods take plain "
            "connections as well.",
        )
