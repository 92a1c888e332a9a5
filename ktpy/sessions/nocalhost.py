"""`.nocalhost/config.yaml`: its shape, and what it says of one container of a workload.

https://nocalhost.dev/docs/config/config-spec-en; the IDE plug-ins write files with every field.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ktpy.cluster.service.reference import Reference
from ktpy.errors import UsageError
from ktpy.sessions.ktpy_yaml import PATCHES
from ktpy.sessions.yaml_shapes import ANYTHING, NUMBER, SWITCH, TEXT, ShapeReader, top_keys

FILE: Final = Path(".nocalhost/config.yaml")
_WORDS: Final = (TEXT,)
_DEV: Final[Mapping[str, Any]] = {
    "gitUrl": TEXT,
    "image": TEXT,
    "imagePullPolicy": TEXT,
    "shell": TEXT,
    "workDir": TEXT,
    "devContainerName": TEXT,
    "useDevContainer": SWITCH,
    "storageClass": TEXT,
    "resources": dict.fromkeys(("limits", "requests"), dict.fromkeys(("cpu", "memory", "ephemeral-storage"), TEXT)),
    "persistentVolumeDirs": ({"path": TEXT, "capacity": TEXT},),
    "command": dict.fromkeys(("build", "run", "debug", "hotReloadRun", "hotReloadDebug"), _WORDS),
    "debug": {"language": TEXT, "remoteDebugPort": NUMBER},
    "hotReload": SWITCH,
    "sync": {
        "type": frozenset(("send", "sendonly", "sendReceive")),
        "mode": frozenset(("gitIgnore", "pattern")),
        "deleteProtection": SWITCH,
        "filePattern": _WORDS,
        "ignoreFilePattern": _WORDS,
    },
    "env": ({"name": TEXT, "value": TEXT},),
    "envFrom": {"envFile": ({"path": TEXT},)},
    "portForward": _WORDS,
    "sidecarImage": TEXT,
    "patches": PATCHES,
}
_WORKLOAD: Final[Mapping[str, Any]] = {
    "name": TEXT,
    "serviceType": TEXT,
    "priorityClass": TEXT,
    "containers": ({"name": TEXT, "hub": ANYTHING, "install": ANYTHING, "dev": _DEV},),
    "dependLabelSelector": ANYTHING,
}
_HOOKS: Final = tuple(f"on{when}{what}" for when in ("Pre", "Post") for what in ("Install", "Upgrade", "Uninstall"))
_APPLICATION: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("name", "manifestType", "resourcePath", "ignoredPath", "env", "envFrom", *_HOOKS), ANYTHING),
    **dict.fromkeys(("helmValues", "helmVals", "helmVersion"), ANYTHING),
    "services": (_WORKLOAD,),
}
_INSTALLED: Final = ("priorityClass", "dependLabelSelector", "hub", "install")
MEANINGLESS: Final = frozenset(
    (*_INSTALLED, "gitUrl", "imagePullPolicy", "devContainerName", "useDevContainer", "sidecarImage")
)
"""What is said of how a workload is installed, or of pods as Nocalhost makes them."""


class Found(NamedTuple):
    """A Found is what a file says of a container."""

    dev: Mapping[str, Any]
    container: str
    """Its name, where it is the only one that the file tells of."""
    unused: tuple[str, ...]
    """What the file says beside `dev` that has no meaning here."""
    variables_file: str
    """Where values for the file's references are, beside it."""
    places: Mapping[str, str]
    """Where it says what is in `dev`, by dotted keys."""


def find(
    reader: ShapeReader, node: Any, wanted: Reference, container: str | None, *, is_of_workload: bool
) -> Found | None:
    """Return what a file of one workload, of several, or of an application says; None where it is nothing.

    `is_of_workload` is for a file that belongs to the workload, and need not name it. Raises UsageError with line and
    column.
    """
    whole: dict[str, Any] = {}
    keys = top_keys(node)
    if keys & {"appConfig", "svcConfigs"}:
        raise UsageError(
            f"{reader.place(node)}: the file is of Nocalhost's version 1, which ktpy does not read.",
            hint="A file of one workload begins with its `name`.",
        )
    if keys & {"application", "configProperties"}:
        properties = {"version": TEXT, "envFile": TEXT}
        whole = reader.value(node, {"configProperties": properties, "application": _APPLICATION})
        services = (whole.get("application") or {}).get("services") or []
    elif node.id == "sequence":
        services = reader.value(node, (_WORKLOAD,))
    else:
        services = [reader.value(node, _WORKLOAD)]
    workload: dict[str, Any] = next(
        (
            one
            for one in services
            if one
            and (one.get("name") == wanted.name or (is_of_workload and not one.get("name")))
            and is_of_kind((one.get("serviceType") or "service").lower(), wanted)
        ),
        {},
    )
    present = [one for one in workload.get("containers") or [] if one]
    meant = [one for one in present if container in (None, one.get("name")) or not one.get("name")]
    if not meant:
        return None
    dev: dict[str, Any] = meant[0].get("dev") or {}
    return Found(
        dev,
        (meant[0].get("name") or "") if len(present) == 1 else "",
        (*_left_out(whole), *(key for one in (workload, meant[0]) for key in _INSTALLED if one.get(key))),
        (whole.get("configProperties") or {}).get("envFile") or "",
        {
            **reader.places(dev),
            **{f"{key}.{inner}": place for key, one in dev.items() for inner, place in reader.places(one).items()},
        },
    )


def is_of_kind(kind: str, wanted: Reference) -> bool:
    """A name without a kind is that of any, as that of a Service is."""
    return "service" in (kind, wanted.kind) or kind == wanted.kind


def _left_out(whole: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an application's file says beside its workloads: how to install it."""
    told = whole.get("application") or {}
    yield from (f"application.{key}" for key, value in told.items() if value and key not in ("name", "services"))
