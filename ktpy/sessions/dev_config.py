"""What a team says of how its workloads are developed, in ktpy.yaml or in Nocalhost's file: ktpy's reading of it.

Both files are understood in Nocalhost's words (ktpy_yaml.py, nocalhost.py). `null`, an empty text or list, and 0 mean
the default. A key that is not known, and a value of another type, is told with its place; what has no meaning for ktpy
is named, not dropped in silence.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ktpy.cluster.service.reference import Reference
from ktpy.errors import UsageError
from ktpy.sessions import env_file, ktpy_yaml, nocalhost
from ktpy.sessions.options import DevPatch
from ktpy.sessions.yaml_shapes import NULL, ShapeReader, top_keys

_WILD: Final = re.compile(r"[*?\[\\!]|^\.\.(/|$)|\s$")
"""In what is no path within the folder."""
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_USED: Final = (
    *("image", "shell", "workDir", "resources", "env", "patches"),
    *("portForward", "reverse", "persistentVolumeDirs", "storageClass", "hotReload"),
)
_USED_OF: Final = {
    "command": ("build", "run", "debug", "hotReloadRun", "hotReloadDebug"),
    "debug": ("language", "remoteDebugPort"),
    "envFrom": ("envFile",),
    "sync": ("type", "mode", "deleteProtection", "initial", "filePattern", "ignoreFilePattern"),
}


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
    initial: str = ""
    """Whose version a file has at first where both sides have another; both without it."""
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
    patches: tuple[DevPatch, ...] = ()
    """Of the dev pod's Deployment."""
    env_files: tuple[str, ...] = ()
    """Files of the project with more variables, which `read` puts into `env`."""
    variables: tuple[str, ...] = ()
    """Variables of this laptop's environment whose values the file was given."""
    is_image_of_variables: bool = False
    """Whether the image would tell such values to a registry; then `image` is empty."""
    variables_file: str = ""
    """Where more of them are, beside the file."""
    name: str = field(default="", compare=False)
    """Of the file, or of what else says so; empty where nothing does."""
    said: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What it says in Nocalhost's words, by dotted keys."""
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Where it says so, by the same keys: name of the text, line and column."""

    def left_out(self) -> Iterator[str]:
        """Yield what of the text has no effect, and why."""
        meaningless = [one for one in self.unused if one in nocalhost.MEANINGLESS or one.startswith("application.")]
        for keys, why in (
            (meaningless, "left out, as ktpy installs nothing and makes pods in another way"),
            ([one for one in self.unused if one not in meaningless], "left out, as it has no effect there"),
        ):
            if keys:
                yield f"{', '.join(keys)}: {why}."


def read(path: Path, workload: str, container: str | None) -> DevConfig:
    """Return what the file says of a workload, a name or KIND/NAME; what it says nothing of has the defaults.

    References such as ${TAG} or ${TAG:-1} are replaced by values of the file's `envFile` and of this laptop's
    environment, but in no image by the latter: a registry would see them. Raises UsageError with line and column for
    what cannot be understood, and for a file of another form.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as exc:
        raise UsageError(f"{path} cannot be read: {exc}") from exc
    project = path.parent.parent if path.parent.name == nocalhost.FILE.parent.name else path.parent
    found, of_file = parsed(str(path), text, workload, container, os.environ), dict[str, str]()
    if found.variables_file:
        of_file = _variables(project, path.parent / found.variables_file, f"{path}: configProperties.envFile")
        found = parsed(str(path), text, workload, container, {**of_file, **os.environ})
    env: dict[str, str] = {}
    for one in found.env_files:
        env |= _variables(project, project / one, f"{found.places['envFrom.envFile']}: envFile")
    found = replace(found, env=tuple((env | dict(found.env)).items()))
    variables = dict.fromkeys(one[1] for one in _VARIABLE.finditer(text) if os.environ.get(one[1]))
    if not variables:
        return found
    try:
        is_told = found.image != parsed(str(path), text, workload, container, of_file).image
    except UsageError:  # it makes sense with the values alone
        is_told = bool(found.image)
    return replace(
        found, image="" if is_told else found.image, variables=tuple(variables), is_image_of_variables=is_told
    )


def _variables(project: Path, file: Path, where: str) -> dict[str, str]:
    """Read a file of variables. Raises UsageError, also for one that is not of the project: the container gets them."""
    try:
        if not file.resolve().is_relative_to(project.resolve()):
            raise UsageError(f"{where}: {file} is not in the folder {project.resolve()}; nothing was read or changed.")
        return env_file.read(file)
    except (OSError, ValueError) as exc:
        raise UsageError(f"{where}: {file} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc


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
    if ktpy_yaml.SHAPE.keys() & top_keys(node):
        return _own(reader, node, wanted, container)
    found = nocalhost.find(reader, node, wanted, container, is_of_workload=is_of_workload)
    if found is None:
        return DevConfig()
    config = _config(found.dev, reader)
    return replace(
        config,
        container=found.container,
        unused=(*found.unused, *config.unused),
        variables_file=found.variables_file,
        places=found.places,
    )


def _own(reader: ShapeReader, node: Any, wanted: Reference, container: str | None) -> DevConfig:
    for one in filter(None, reader.value(node, ktpy_yaml.SHAPE).get("dev") or []):
        try:
            named = Reference.parse(one.get("workload") or wanted.name)
        except ValueError as exc:
            raise UsageError(f"{reader.places(one)['workload']}: {exc}") from exc
        is_meant = named.name == wanted.name and nocalhost.is_of_kind(named.kind, wanted)
        if is_meant and (container is None or one.get("container") in (None, "", container)):
            said, places = ktpy_yaml.translated(one, reader)
            return replace(_config(said, reader), container=one.get("container") or "", places=places)
    return DevConfig()


def _patches(dev: Mapping[str, Any], reader: ShapeReader) -> Iterator[DevPatch]:
    """Yield the patches, which are text or the object itself. Raises UsageError for one of another type."""
    import yaml

    for number, one in enumerate(dev.get("patches") or [], 1):
        if not one or not one.get("patch"):
            continue
        place, kind, body = (
            f"patch {number} of {reader.places(one)['patch']}",
            one.get("type") or "strategic",
            one["patch"],
        )
        if isinstance(body, str):
            try:
                body = yaml.safe_load(body)
            except (ValueError, yaml.YAMLError) as exc:
                raise UsageError(f"{place} cannot be read: {exc}") from exc
        is_list = isinstance(body, list) and all(isinstance(step, dict) for step in body)
        if not (is_list if kind == "json" else isinstance(body, dict)):
            raise UsageError(
                f"{place} is not {'a list of steps' if kind == 'json' else 'a map of keys'}, as type {kind} is."
            )
        yield DevPatch(kind, body, place)


def _config(dev: Mapping[str, Any], reader: ShapeReader) -> DevConfig:
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
        env_files=tuple(
            one["path"] for one in (dev.get("envFrom") or {}).get("envFile") or [] if one and one.get("path")
        ),
        is_reloaded=bool(dev.get("hotReload")),
        run_reloaded=_command(commands, "hotReloadRun"),
        debug_reloaded=_command(commands, "hotReloadDebug"),
        is_two_way=sync.get("type") not in ("send", "sendonly"),
        is_delete_protected=bool(sync.get("deleteProtection")),
        initial=sync.get("initial") or "",
        ignore=(*(_only(sync) or ()), *filter(None, ignored)),
        forward=tuple(filter(None, dev.get("portForward") or ())),
        reverse=tuple(filter(None, dev.get("reverse") or ())),
        unused=tuple(_unused(dev)),
        persist=tuple(
            f"{one['path']}:{one.get('capacity') or ''}"
            for one in dev.get("persistentVolumeDirs") or []
            if one and one.get("path")
        ),
        storage_class=dev.get("storageClass") or "",
        patches=tuple(_patches(dev, reader)),
        said=dev,
    )


def _command(commands: Mapping[str, Any], key: str) -> tuple[str, ...]:
    words = tuple(filter(None, commands.get(key) or ()))
    return ("sh", "-c", words[0]) if len(words) == 1 else words


def _folder(path: str) -> str:
    return posixpath.normpath(path) if path else ""


def _ignores_as_git(sync: Mapping[str, Any]) -> bool:
    return sync.get("mode") == "gitIgnore"


def _only(sync: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the lines of a .gitignore by which only these files and folders count; None where they are no paths."""
    paths = {posixpath.normpath(one.lstrip("/")) for one in sync.get("filePattern") or () if one}
    if not paths or "." in paths:
        return ()
    if _ignores_as_git(sync) or any(_WILD.search(one) for one in paths):
        return None
    lines = {"/*": None}
    for path in sorted(paths):
        *outer, _ = path.split("/")
        folders = ["/".join(outer[: depth + 1]) for depth in range(len(outer))]
        if paths.isdisjoint(folders):  # else all of one of them counts
            for folder in folders:
                lines |= dict.fromkeys((f"!/{folder}", f"/{folder}/*"))
            lines[f"!/{path}"] = None
    return tuple(lines)


def _unused(dev: Mapping[str, Any]) -> Iterator[str]:
    for key, value in dev.items():
        if isinstance(value, dict) and key in _USED_OF:
            yield from (f"{key}.{name}" for name, one in value.items() if one and name not in _USED_OF[key])
        elif key not in _USED and (any(value.values()) if isinstance(value, dict) else value):
            yield key
    sync = dev.get("sync") or {}
    if sync.get("ignoreFilePattern") and _ignores_as_git(sync):
        yield "sync.ignoreFilePattern"
    if _only(sync) is None:
        yield "sync.filePattern"
