"""The volumes of a workload's container, as the shadow pod mounts them for the agent to hand over. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from ktpy.cluster.pods.sources import volume_source
from ktpy.kube.objects import Json
from ktpy.wire.files import CLAIMS_DIR, FILES_DIR

_WRITTEN_BY_THE_KUBELET: Final = ("configMap", "secret", "projected", "downwardAPI", "csi")
_DEFAULT_MODE: Final = 0o644
_READABLE: Final = 0o444
_REFERENCE: Final = re.compile(r"\$\$|\$\(([^)]*)\)")


class ClaimAccess(StrEnum):
    """What a program gets of the workload's claims."""

    LIVE = "live"
    """What it writes arrives in them, and what others write there appears."""
    COPY = "copy"
    NONE = "none"


class VolumeKind(StrEnum):
    KUBELET = "kubelet"
    """The kubelet writes what is in it."""
    CLAIM = "claim"
    SCRATCH = "scratch"
    """It is empty in a new pod."""
    OTHER = "other"
    """Pod Security `restricted` does not let a pod have it: a folder of the node, a server of files."""


@dataclass(frozen=True, slots=True)
class PodMount:
    """A PodMount is what the workload's container has at a path."""

    path: str
    kind: VolumeKind
    read_only: bool = False
    default_mode: int | None = None
    """Of the files that the kubelet writes; the shadow pod's may be more readable. None keeps what is there."""
    modes: dict[str, int] = field(default_factory=dict)
    """Of single ones, by their path in the volume."""
    claim: str = ""
    """The name of the claim."""
    is_live: bool = False
    """Whether the claim and what the program has of it are kept alike."""
    source: str = field(default="", compare=False)
    """The volume's kind and object, for people."""

    @property
    def is_handed_over(self) -> bool:
        return self.kind in (VolumeKind.KUBELET, VolumeKind.CLAIM)


@dataclass(frozen=True, slots=True)
class WornVolumes:
    """WornVolumes are what the shadow pod has of the workload's volumes."""

    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    """For the agent's container."""
    variables: tuple[Json, ...] = ()
    """What `subPathExpr` refers to."""
    shown: tuple[PodMount, ...] = ()
    """What the container has, outer folders first."""


def worn_volumes(spec: Json, container: Json, claims_of_set: Mapping[str, str], access: ClaimAccess) -> WornVolumes:
    """Return the volumes that a container mounts. `claims_of_set` has the claims of a StatefulSet, by volume."""
    by_name = {one["name"]: one for one in spec.get("volumes") or []}
    by_name |= {
        name: {"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in claims_of_set.items()
    }
    wanted = sorted(container.get("volumeMounts") or [], key=lambda one: _path(one["mountPath"]))
    shown, volumes, mounts, names = [], {}, [], set[str]()
    for mount in wanted:
        volume = by_name.get(mount["name"])
        if volume is None:
            continue
        pod_mount = replace(_pod_mount(volume, mount), source=volume_source(volume))
        is_claim = pod_mount.kind is VolumeKind.CLAIM
        is_live = is_claim and access is ClaimAccess.LIVE
        shown.append(replace(pod_mount, is_live=is_live))
        if not pod_mount.is_handed_over or (is_claim and access is ClaimAccess.NONE):
            continue
        name = f"workload-{list(by_name).index(mount['name'])}"
        volumes[name] = {**_readable(volume), "name": name}
        folder, read_only = (CLAIMS_DIR, pod_mount.read_only) if is_live else (FILES_DIR, True)
        own = {"name": name, "mountPath": folder + pod_mount.path, "readOnly": read_only}
        mounts.append(own | {key: mount[key] for key in ("subPath", "subPathExpr") if mount.get(key)})
        names |= set(referred(str(mount.get("subPathExpr") or "")))
    variables = [
        one for one in container.get("env") or [] if one["name"] in names and not one["name"].startswith("LD_")
    ]
    return WornVolumes(tuple(volumes.values()), tuple(mounts), tuple(variables), tuple(shown))


def _pod_mount(volume: Json, mount: Json) -> PodMount:
    path, read_only = _path(mount["mountPath"]), bool(mount.get("readOnly"))
    if (claim := volume.get("persistentVolumeClaim")) is not None:
        is_read_only = read_only or bool(claim.get("readOnly"))
        return PodMount(path, VolumeKind.CLAIM, is_read_only, claim=claim["claimName"])
    if "emptyDir" in volume or "ephemeral" in volume:
        return PodMount(path, VolumeKind.SCRATCH, read_only)
    kind = next((kind for kind in _WRITTEN_BY_THE_KUBELET if kind in volume), None)
    if kind is None:
        return PodMount(path, VolumeKind.OTHER, read_only)
    if kind == "csi":
        return PodMount(path, VolumeKind.KUBELET, read_only=True)
    modes = {one["path"]: one["mode"] for one in _items(volume[kind]) if one.get("mode") is not None}
    default = volume[kind].get("defaultMode")
    default = modes.get(mount.get("subPath") or "", _DEFAULT_MODE if default is None else default)
    return PodMount(path, VolumeKind.KUBELET, read_only=True, default_mode=default, modes=modes)


def _items(source: Json) -> Iterator[Json]:
    """Yield the items of a volume, or of each source of a projected one."""
    yield from source.get("items") or []
    for part in source.get("sources") or []:
        for one in part.values():
            yield from one.get("items") or []


def _readable(volume: Json) -> Json:
    """Return the volume with files that the agent can read, whoever it is: it hands the modes over as they were."""
    kind = next((kind for kind in _WRITTEN_BY_THE_KUBELET if kind in volume and kind != "csi"), None)
    if kind is None:
        return volume
    source: Json = dict(volume[kind])
    default = source.get("defaultMode")
    source["defaultMode"] = (_DEFAULT_MODE if default is None else default) | _READABLE
    if source.get("items"):
        source["items"] = list(map(_readable_item, source["items"]))
    if source.get("sources"):
        source["sources"] = [
            {
                name: part | ({"items": list(map(_readable_item, part["items"]))} if part.get("items") else {})
                for name, part in one.items()
            }
            for one in source["sources"]
        ]
    return {kind: source}


def _readable_item(item: Json) -> Json:
    return item if item.get("mode") is None else item | {"mode": item["mode"] | _READABLE}


def _path(text: str) -> str:
    return "/" + "/".join(part for part in text.split("/") if part not in ("", "."))


def referred(value: str) -> Iterator[str]:
    """Yield the names of the variables that `$(NAME)` in a value stand for."""
    return (match[1] for match in _REFERENCE.finditer(value) if match[1] is not None)
