"""Reads `.nocalhost/config.yaml` as it is: what a team says of how its workloads are developed.

https://nocalhost.dev/docs/config/config-spec-en. `null`, an empty text or list, and 0 mean the default, as the IDE
plug-ins write files with every field. A key that is not known, and a value of another type, is told with its place;
what has no meaning for ktpy is named, not dropped in silence.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from ktpy.cluster.service.reference import Reference
from ktpy.errors import UsageError
from ktpy.observe.events import Notice, Report
from ktpy.sessions.options import DevOptions

REMOTE_DIR: Final = "/home/dev"
FILE: Final = Path(".nocalhost/config.yaml")
_TEXT, _NUMBER, _SWITCH, _ANYTHING = "text", "number", "true or false", "anything"
_TAGS: Final = {
    _TEXT: ("str", "int", "float", "bool"),
    _NUMBER: ("int",),
    _SWITCH: ("bool",),
}
_WORDS: Final = (_TEXT,)
"""A tuple is a list, of what is in it."""
_DEV: Final[Mapping[str, Any]] = {
    "gitUrl": _TEXT,
    "image": _TEXT,
    "shell": _TEXT,
    "workDir": _TEXT,
    "devContainerName": _TEXT,
    "storageClass": _TEXT,
    "resources": dict.fromkeys(("limits", "requests"), dict.fromkeys(("cpu", "memory", "ephemeral-storage"), _TEXT)),
    "persistentVolumeDirs": ({"path": _TEXT, "capacity": _TEXT},),
    "command": dict.fromkeys(("build", "run", "debug", "hotReloadRun", "hotReloadDebug"), _WORDS),
    "debug": {"language": _TEXT, "remoteDebugPort": _NUMBER},
    "hotReload": _SWITCH,
    "sync": {
        "type": _TEXT,
        "mode": _TEXT,
        "deleteProtection": _SWITCH,
        "filePattern": _WORDS,
        "ignoreFilePattern": _WORDS,
    },
    "env": ({"name": _TEXT, "value": _TEXT},),
    "envFrom": _ANYTHING,
    "portForward": _WORDS,
    "sidecarImage": _TEXT,
    "patches": _ANYTHING,
}
_WORKLOAD: Final[Mapping[str, Any]] = {
    "name": _TEXT,
    "serviceType": _TEXT,
    "containers": ({"name": _TEXT, "hub": _ANYTHING, "install": _ANYTHING, "dev": _DEV},),
    "dependLabelSelector": _ANYTHING,
}
_HOOKS: Final = tuple(f"on{when}{what}" for when in ("Pre", "Post") for what in ("Install", "Upgrade", "Uninstall"))
_APPLICATION: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("name", "manifestType", "resourcePath", "ignoredPath", "env", "envFrom", *_HOOKS), _ANYTHING),
    **dict.fromkeys(("helmValues", "helmVals", "helmVersion"), _ANYTHING),
    "services": (_WORKLOAD,),
}
_NULL: Final = "tag:yaml.org,2002:null"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_USED: Final = ("image", "shell", "workDir", "resources", "env")
_USED_OF: Final = {"command": ("run",), "sync": ("type", "mode", "deleteProtection", "ignoreFilePattern")}


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
    is_two_way: bool = True
    is_delete_protected: bool = False
    ignore: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    """What the file says that has no meaning here."""
    variables: tuple[str, ...] = ()
    """Variables of this laptop's environment whose values the file was given."""
    is_image_of_variables: bool = False
    """Whether the image would tell such values to a registry; then `image` is empty."""


def read(path: Path, workload: str, container: str | None) -> DevConfig:
    """Return what the file says of a workload by its name; what it says nothing of has the defaults.

    References such as ${TAG} or ${TAG:-1} are replaced by values of this laptop's environment, but in no image: a
    registry would see them. Raises UsageError with line and column for what cannot be understood, and for a file of
    another form.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}") from exc
    found = _read(path, text, os.environ, workload, container)
    variables = dict.fromkeys(one[1] for one in _VARIABLE.finditer(text) if os.environ.get(one[1]))
    if not variables:
        return found
    try:
        is_told = found.image != _read(path, text, {}, workload, container).image
    except UsageError:  # it makes sense with the values alone
        is_told = bool(found.image)
    return replace(
        found, image="" if is_told else found.image, variables=tuple(variables), is_image_of_variables=is_told
    )


def _read(path: Path, text: str, variables: Mapping[str, str], workload: str, container: str | None) -> DevConfig:
    import yaml  # not before it is needed

    try:
        node = yaml.compose(_VARIABLE.sub(lambda one: variables.get(one[1]) or one[2] or "", text))
    except (ValueError, yaml.YAMLError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}") from exc
    try:
        return _understood(path, node, workload, container)
    except RecursionError as exc:
        raise UsageError(f"{path} is nested too deeply, or within itself.") from exc


def _understood(path: Path, node: Any, workload: str, container: str | None) -> DevConfig:
    import yaml

    if node is None or node.tag == _NULL:
        return DevConfig()
    keys = {key.value for key, _ in node.value} if isinstance(node, yaml.MappingNode) else set()
    if keys & {"appConfig", "svcConfigs"}:
        raise UsageError(
            f"{path} is of version 1, which ktpy does not read.", hint="A file of one workload begins with its `name`."
        )
    if "application" in keys:
        whole = _Reader(path).value(node, {"configProperties": _ANYTHING, "application": _APPLICATION}, "")
        services = (whole["application"] or {}).get("services") or []
    else:
        services = [_Reader(path).value(node, _WORKLOAD, "")]
    found: dict[str, Any] = next((one for one in services if one and one.get("name") == workload), {})
    present = [one for one in found.get("containers") or [] if one]
    meant = [one for one in present if container in (None, one.get("name")) or not one.get("name")]
    if not meant:
        return DevConfig()
    name = meant[0].get("name") if len(present) == 1 else None
    return replace(_config(meant[0].get("dev") or {}), container=name or "")


def _config(dev: Mapping[str, Any]) -> DevConfig:
    resources: dict[str, Any] = dev.get("resources") or {}
    sync, words = dev.get("sync") or {}, [one for one in (dev.get("command") or {}).get("run") or [] if one]
    ignored = [] if sync.get("mode") == "gitIgnore" else sync.get("ignoreFilePattern") or []
    amounts = {kind: {name: one for name, one in (found or {}).items() if one} for kind, found in resources.items()}
    return DevConfig(
        image=dev.get("image") or "",
        shell=dev.get("shell") or "",
        work_dir=_folder(dev.get("workDir") or ""),
        resources={kind: found for kind, found in amounts.items() if found},
        env=tuple((one["name"], one.get("value") or "") for one in dev.get("env") or [] if one and one.get("name")),
        run=("sh", "-c", words[0]) if len(words) == 1 else tuple(words),
        is_two_way=sync.get("type") not in ("send", "sendonly"),
        is_delete_protected=bool(sync.get("deleteProtection")),
        ignore=tuple(filter(None, ignored)),
        unused=tuple(_unused(dev)),
    )


def _folder(path: str) -> str:
    return posixpath.normpath(path) if path else ""


def _unused(dev: Mapping[str, Any]) -> Iterator[str]:
    for key, value in dev.items():
        if isinstance(value, dict) and key in _USED_OF:
            yield from (f"{key}.{name}" for name, one in value.items() if one and name not in _USED_OF[key])
        elif key not in _USED and (any(value.values()) if isinstance(value, dict) else value):
            yield key


class _Reader:
    """Turns nodes of YAML, which know their places, into values of the shapes that are wanted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def value(self, node: Any, shape: Any, where: str) -> Any:
        """Return the value. Raises UsageError."""
        import yaml

        if node.tag == _NULL or shape == _ANYTHING:
            return yaml.SafeLoader("").construct_object(node, deep=True)
        if isinstance(shape, Mapping):
            return self._mapping(node, shape, where)
        if isinstance(shape, tuple):
            if not isinstance(node, yaml.SequenceNode):
                raise self._wrong(node, where, "a list")
            return [self.value(one, shape[0], where) for one in node.value]
        if not isinstance(node, yaml.ScalarNode) or node.tag.rpartition(":")[2] not in _TAGS[shape]:
            raise self._wrong(node, where, shape)
        return node.value if shape == _TEXT else yaml.safe_load(node.value)

    def _mapping(self, node: Any, shape: Mapping[str, Any], where: str) -> dict[str, Any]:
        import yaml

        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, where, "a map of keys")
        found = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in shape:
                close = get_close_matches(name, shape, 1)
                meant = f" {close[0]} is meant?" if close else f" Known are: {', '.join(shape)}."
                raise UsageError(f"{self._place(key)}: {where or 'The file'} has no key {name}.", hint=meant.strip())
            found[name] = self.value(value, shape[name], f"{where}.{name}".strip("."))
        return found

    def _wrong(self, node: Any, where: str, wanted: str) -> UsageError:
        return UsageError(f"{self._place(node)}: {where or 'the file'} is {node.id}, not {wanted}.")

    def _place(self, node: Any) -> str:
        return f"{self._path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def configured(options: DevOptions, report: Report) -> DevOptions:
    """Return the options with what the file says where the user says nothing. Raises as `read` does."""
    found = _found(options, report)
    if found.is_image_of_variables and not options.image:
        raise UsageError(
            f"{options.config or FILE}: the image is named by variables of this laptop's environment, which ktpy does "
            "not tell a registry; nothing was changed.",
            hint="--image names it.",
        )
    if found.unused:
        report(
            Notice(f"{options.config or FILE}: {', '.join(found.unused)}: left out, as ktpy has no use for that yet.")
        )
    work_dir = options.work_dir or found.work_dir
    sync = options.sync
    if sync is not None:
        sync = replace(
            sync,
            remote=sync.remote or found.work_dir or REMOTE_DIR,
            is_two_way=sync.is_two_way and found.is_two_way,
            is_delete_protected=found.is_delete_protected,
            ignore=found.ignore,
        )
        work_dir = options.work_dir or sync.remote
    return replace(
        options,
        container=options.container or found.container or None,
        image=options.image or found.image or None,
        shell=options.shell or found.shell,
        work_dir=work_dir,
        sync=sync,
        resources=found.resources,
        env=found.env,
    )


def configured_run(options: DevOptions, report: Report) -> tuple[tuple[str, ...], str]:
    """Return what runs in a dev container, and in which folder: what the user says, or else the file."""
    if options.command:
        return options.command, options.work_dir
    found = _found(options, report)
    return found.run, options.work_dir or found.work_dir


def _found(options: DevOptions, report: Report) -> DevConfig:
    path = Path(options.config or FILE)
    if options.config is None and not path.is_file():
        return DevConfig()
    found = read(path, Reference.parse(options.target).name, options.container)
    if found.variables and found != DevConfig(variables=found.variables):
        report(Notice(f"{path} was given variables of this laptop's environment: {', '.join(found.variables)}."))
    return found
