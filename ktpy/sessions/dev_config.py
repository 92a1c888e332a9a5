"""Reads what a team says of how its workloads are developed: `.nocalhost/config.yaml` as it is, and ktpy.yaml.

https://nocalhost.dev/docs/config/config-spec-en. `null`, an empty text or list, and 0 mean the default, as the IDE
plug-ins write files with every field. A key that is not known, and a value of another type, is told with its place;
what has no meaning for ktpy is named, not dropped in silence.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ktpy.cluster.service.reference import Reference
from ktpy.errors import UsageError
from ktpy.sessions import ktpy_yaml
from ktpy.sessions.yaml_shapes import ANYTHING, NULL, NUMBER, SWITCH, TEXT, ShapeReader

if TYPE_CHECKING:
    pass

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
    "envFrom": ANYTHING,
    "portForward": _WORDS,
    "sidecarImage": TEXT,
    "patches": ANYTHING,
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
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_USED: Final = (
    *("image", "shell", "workDir", "resources", "env"),
    *("portForward", "reverse", "persistentVolumeDirs", "storageClass", "hotReload"),
)
_OTHERS: Final = ("priorityClass", "dependLabelSelector", "hub", "install")
_MEANINGLESS: Final = frozenset(
    (*_OTHERS, "gitUrl", "imagePullPolicy", "devContainerName", "useDevContainer", "sidecarImage")
)
"""What is said of how a workload is installed, or of pods as Nocalhost makes them."""
_USED_OF: Final = {
    "command": ("build", "run", "debug", "hotReloadRun", "hotReloadDebug"),
    "debug": ("language", "remoteDebugPort"),
    "sync": ("type", "mode", "deleteProtection", "filePattern", "ignoreFilePattern"),
}
_EVERYTHING: Final = frozenset((".", "./", "", None))


@dataclass(frozen=True, slots=True)
class DevConfig:
    """A DevConfig is what the file says of one container of a workload; empty is the default."""

    container: str = ""
    """Its name, where it is the only one that the file tells of."""
    image: str = ""
    shell: str = ""
    work_dir: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    env: tuple[tuple[str, str], ...] = ()
    run: tuple[str, ...] = ()
    """What `ktpy dev run` runs when nothing is named."""
    build: tuple[str, ...] = ()
    debug: tuple[str, ...] = ()
    debug_port: int = 0
    """Where the debugger listens in the container."""
    language: str = ""
    """Of what is debugged."""
    is_reloaded: bool = False
    """Whether what is run or debugged is started again when files change."""
    run_reloaded: tuple[str, ...] = ()
    """What runs then, and does so itself."""
    debug_reloaded: tuple[str, ...] = ()
    is_two_way: bool = True
    is_delete_protected: bool = False
    ignore: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    """As `parse_forward` reads them."""
    reverse: tuple[str, ...] = ()
    """As `parse_reverse` reads them."""
    unused: tuple[str, ...] = ()
    """What the file says that has no meaning here."""
    persist: tuple[str, ...] = ()
    """As `parse_persistent_dir` reads them."""
    storage_class: str = ""
    variables: tuple[str, ...] = ()
    """Variables of this laptop's environment whose values the file was given."""
    is_image_of_variables: bool = False
    """Whether the image would tell such values to a registry; then `image` is empty."""
    name: str = field(default="", compare=False)
    """Of the file, or of what else says so; empty where nothing does."""
    said: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What it says in Nocalhost's words, by dotted keys."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where it says so, by the same keys: name of the text, line and column."""

    def left_out(self) -> Iterator[str]:
        """Yield what of the text has no effect, and why."""
        meaningless = [one for one in self.unused if one in _MEANINGLESS or one.startswith("application.")]
        for keys, why in (
            (meaningless, "left out, as ktpy installs nothing and makes pods in another way"),
            ([one for one in self.unused if one not in meaningless], "left out, as ktpy has no use for that yet"),
        ):
            if keys:
                yield f"{', '.join(keys)}: {why}."


def read(path: Path, workload: str, container: str | None) -> DevConfig:
    """Return what the file says of a workload, a name or KIND/NAME; what it says nothing of has the defaults.

    References such as ${TAG} or ${TAG:-1} are replaced by values of this laptop's environment, but in no image: a
    registry would see them. Raises UsageError with line and column for what cannot be understood, and for a file of
    another form.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}") from exc
    found = parsed(str(path), text, workload, container, os.environ)
    variables = dict.fromkeys(one[1] for one in _VARIABLE.finditer(text) if os.environ.get(one[1]))
    if not variables:
        return found
    try:
        is_told = found.image != parsed(str(path), text, workload, container).image
    except UsageError:  # it makes sense with the values alone
        is_told = bool(found.image)
    return replace(
        found, image="" if is_told else found.image, variables=tuple(variables), is_image_of_variables=is_told
    )


def parsed(
    name: str,
    text: str,
    workload: str,
    container: str | None,
    variables: Mapping[str, str] = MappingProxyType({}),
    *,
    is_of_workload: bool = False,
) -> DevConfig:
    """Return what a text says, as `read` does; `name` is told with its faults.

    `is_of_workload` is for a text that belongs to the workload, and need not name it.
    """
    import yaml  # not before it is needed

    try:
        node = yaml.compose(_VARIABLE.sub(lambda one: variables.get(one[1]) or one[2] or "", text))
    except (ValueError, yaml.YAMLError) as exc:
        raise UsageError(f"{name} cannot be read: {exc}") from exc
    if node is None or node.tag == NULL:
        return DevConfig()
    wanted = Reference.parse(workload)
    try:
        found = _understood(ShapeReader(name), node, wanted, container, is_of_workload=is_of_workload)
        return replace(found, name=name)
    except RecursionError as exc:
        raise UsageError(f"{name} is nested too deeply, or within itself.") from exc


def _understood(
    reader: ShapeReader, node: Any, wanted: Reference, container: str | None, *, is_of_workload: bool
) -> DevConfig:
    import yaml

    keys = {key.value for key, _ in node.value} if isinstance(node, yaml.MappingNode) else set()
    whole: dict[str, Any] = {}
    if keys & {"appConfig", "svcConfigs"}:
        raise UsageError(
            f"{reader.place(node)}: the file is of Nocalhost's version 1, which ktpy does not read.",
            hint="A file of one workload begins with its `name`.",
        )
    if keys & ktpy_yaml.SHAPE.keys():
        return _own(reader, node, wanted, container)
    if keys & {"application", "configProperties"}:
        properties = {"version": TEXT, "envFile": TEXT}
        whole = reader.value(node, {"configProperties": properties, "application": _APPLICATION})
        services = (whole.get("application") or {}).get("services") or []
    elif isinstance(node, yaml.SequenceNode):
        services = reader.value(node, (_WORKLOAD,))
    else:
        services = [reader.value(node, _WORKLOAD)]
    found: dict[str, Any] = next(
        (
            one
            for one in services
            if one
            and (one.get("name") == wanted.name or (is_of_workload and not one.get("name")))
            and _is_of_kind((one.get("serviceType") or "service").lower(), wanted)
        ),
        {},
    )
    present = [one for one in found.get("containers") or [] if one]
    meant = [one for one in present if container in (None, one.get("name")) or not one.get("name")]
    if not meant:
        return DevConfig()
    name = meant[0].get("name") if len(present) == 1 else None
    dev: dict[str, Any] = meant[0].get("dev") or {}
    config = _config(dev)
    left = [*_left_out(whole), *(key for one in (found, meant[0]) for key in _OTHERS if one.get(key))]
    places = {**reader.places(dev)}
    places |= {
        f"{key}.{inner}": place
        for key in _USED_OF
        for inner, place in (reader.places(dev[key]) if dev.get(key) else {}).items()
    }
    return replace(config, container=name or "", unused=(*left, *config.unused), places=places)


def _is_of_kind(kind: str, wanted: Reference) -> bool:
    """A name without a kind is that of any, as that of a Service is."""
    return "service" in (kind, wanted.kind) or kind == wanted.kind


def _left_out(whole: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an application's file says beside its workloads: how to install it."""
    if (whole.get("configProperties") or {}).get("envFile"):
        yield "configProperties.envFile"
    told = whole.get("application") or {}
    yield from (f"application.{key}" for key, value in told.items() if value and key not in ("name", "services"))


def _own(reader: ShapeReader, node: Any, wanted: Reference, container: str | None) -> DevConfig:
    for one in filter(None, reader.value(node, ktpy_yaml.SHAPE).get("dev") or []):
        try:
            named = Reference.parse(one.get("workload") or wanted.name)
        except ValueError as exc:
            raise UsageError(f"{reader.places(one)['workload']}: {exc}") from exc
        is_meant = named.name == wanted.name and _is_of_kind(named.kind, wanted)
        if is_meant and (container is None or one.get("container") in (None, "", container)):
            said, places = ktpy_yaml.translated(one, reader)
            return replace(_config(said), container=one.get("container") or "", places=places)
    return DevConfig()


def _config(dev: Mapping[str, Any]) -> DevConfig:
    resources: dict[str, Any] = dev.get("resources") or {}
    sync, commands, debug = (dev.get(key) or {} for key in ("sync", "command", "debug"))
    ignored = [] if _ignores_as_git(sync) else sync.get("ignoreFilePattern") or []
    amounts = {kind: {name: one for name, one in (found or {}).items() if one} for kind, found in resources.items()}
    return DevConfig(
        image=dev.get("image") or "",
        shell=dev.get("shell") or "",
        work_dir=_folder(dev.get("workDir") or ""),
        resources={kind: found for kind, found in amounts.items() if found},
        env=tuple((one["name"], one.get("value") or "") for one in dev.get("env") or [] if one and one.get("name")),
        run=_command(commands, "run"),
        build=_command(commands, "build"),
        debug=_command(commands, "debug"),
        debug_port=debug.get("remoteDebugPort") or 0,
        language=debug.get("language") or "",
        is_reloaded=bool(dev.get("hotReload")),
        run_reloaded=_command(commands, "hotReloadRun"),
        debug_reloaded=_command(commands, "hotReloadDebug"),
        is_two_way=sync.get("type") not in ("send", "sendonly"),
        is_delete_protected=bool(sync.get("deleteProtection")),
        ignore=tuple(filter(None, ignored)),
        forward=tuple(filter(None, dev.get("portForward") or ())),
        reverse=tuple(filter(None, dev.get("reverse") or ())),
        unused=tuple(_unused(dev)),
        persist=tuple(
            f"{one['path']}:{one.get('capacity') or ''}"
            for one in dev.get("persistentVolumeDirs") or []
            if one and one.get("path")
        ),
        storage_class=dev.get("storageClass") or "",
        said=dev,
    )


def _command(commands: Mapping[str, Any], key: str) -> tuple[str, ...]:
    words = tuple(filter(None, commands.get(key) or ()))
    return ("sh", "-c", words[0]) if len(words) == 1 else words


def _folder(path: str) -> str:
    return posixpath.normpath(path) if path else ""


def _ignores_as_git(sync: Mapping[str, Any]) -> bool:
    return sync.get("mode") == "gitIgnore"


def _unused(dev: Mapping[str, Any]) -> Iterator[str]:
    for key, value in dev.items():
        if isinstance(value, dict) and key in _USED_OF:
            yield from (f"{key}.{name}" for name, one in value.items() if one and name not in _USED_OF[key])
        elif key not in _USED and (any(value.values()) if isinstance(value, dict) else value):
            yield key
    sync = dev.get("sync") or {}
    if sync.get("ignoreFilePattern") and _ignores_as_git(sync):
        yield "sync.ignoreFilePattern"
    if {*(sync.get("filePattern") or ())} - _EVERYTHING:
        yield "sync.filePattern"
