"""`ktpy.yaml`: what a team says of how its workloads are developed, in the words of Kubernetes.

Each key is one of Nocalhost's by another name, so that what holds can be told, and written, in these.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ktpy.sessions.yaml_shapes import ANYTHING, NUMBER, SWITCH, TEXT, ShapeReader, schema

FILE: Final = Path("ktpy.yaml")
_AMOUNTS: Final = dict.fromkeys(("cpu", "memory", "ephemeral-storage"), TEXT)
INITIAL: Final = frozenset(("laptop", "container", "newer", "both"))
PATCHES: Final = ({"type": frozenset(("strategic", "merge", "json")), "patch": ANYTHING},)
_ENTRY: Final[Mapping[str, Any]] = {
    "workload": TEXT,
    "container": TEXT,
    "image": TEXT,
    "shell": TEXT,
    "workingDir": TEXT,
    "resources": {"limits": _AMOUNTS, "requests": _AMOUNTS},
    "env": ({"name": TEXT, "value": TEXT},),
    "envFiles": ({"path": TEXT},),
    "run": (TEXT,),
    "build": (TEXT,),
    "debug": {"command": (TEXT,), "port": NUMBER, "language": TEXT},
    "reload": SWITCH,
    "forward": (TEXT,),
    "reverse": (TEXT,),
    "persist": ({"path": TEXT, "capacity": TEXT},),
    "storageClass": TEXT,
    "sync": {"oneWay": SWITCH, "deleteProtection": SWITCH, "initial": INITIAL, "only": (TEXT,), "ignore": (TEXT,)},
    "patches": PATCHES,
}
UP: Final = (
    "connect",
    "exchange",
    "mesh",
    "preview",
    "tap",
    "forward",
    "commands",
    "kubeconfig",
    "context",
    "namespace",
)
"""Keys beside `dev`, which are for `ktpy up`."""
SHAPE: Final[Mapping[str, Any]] = {"dev": (_ENTRY,), **dict.fromkeys(UP, ANYTHING)}
NOCALHOSTS: Final = {
    "image": "image",
    "shell": "shell",
    "workingDir": "workDir",
    "resources": "resources",
    "env": "env",
    "envFiles": "envFrom.envFile",
    "run": "command.run",
    "build": "command.build",
    "debug.command": "command.debug",
    "debug.port": "debug.remoteDebugPort",
    "debug.language": "debug.language",
    "reload": "hotReload",
    "forward": "portForward",
    "reverse": "reverse",
    "persist": "persistentVolumeDirs",
    "storageClass": "storageClass",
    "sync.oneWay": "sync.type",
    "sync.deleteProtection": "sync.deleteProtection",
    "sync.initial": "sync.initial",
    "sync.only": "sync.filePattern",
    "sync.ignore": "sync.ignoreFilePattern",
    "patches": "patches",
}
"""Keys of an entry by dotted names, with those of .nocalhost/config.yaml."""
_SAID: Final = {
    "dev": "One entry for each workload, or container of it, that is developed by `ktpy dev`.",
    "dev.workload": "NAME or KIND/NAME; without it the entry is for whichever is developed.",
    "dev.container": "The container, where its pods have several.",
    "dev.image": "Image of the dev container; it needs a shell. The workload's own without it.",
    "dev.shell": "Shell of the terminal; bash or sh without it.",
    "dev.workingDir": "Folder of the terminal, of what runs, and of the synchronized files (/home/dev).",
    "dev.resources": "Of the dev container, in the place of the workload's.",
    "dev.env": "Variables beside the workload's.",
    "dev.envFiles": "Files of NAME=VALUE lines, beside this one: variables beside the workload's. `env` counts more.",
    "dev.run": "What `ktpy dev run` runs: words, or one line for a shell.",
    "dev.build": "What `ktpy dev build` runs, as `run`.",
    "dev.debug.command": "What `ktpy dev debug` runs, as `run`.",
    "dev.debug.port": "Port of the container on which its debugger listens.",
    "dev.debug.language": "python, node, go or java; by default what the command tells.",
    "dev.reload": "What `run` and `debug` name is started again when files of its folder change.",
    "dev.forward": "Ports of the laptop that lead into the container: [LOCAL:]PORT, or :PORT.",
    "dev.reverse": "Ports of the container that lead to the laptop: PORT[:LOCAL]. Nocalhost has none.",
    "dev.persist": "Folders that outlive the container, in claims of the developer's own.",
    "dev.storageClass": "Of these claims; the cluster's default without it.",
    "dev.sync.oneWay": "Nothing comes back to the laptop.",
    "dev.sync.deleteProtection": "What is deleted in the container stays on the laptop.",
    "dev.sync.initial": "Of files that differ at first: laptop, container, newer, or both, the default.",
    "dev.sync.only": "Files and folders that are synchronized; everything without it.",
    "dev.sync.ignore": "Lines as in .gitignore, beside those files.",
    "dev.patches": "Changes of the dev pod's Deployment, before it starts, as `kubectl patch --type` takes them.",
    "dev.patches.type": "strategic, which is the default, merge (RFC 7396) or json (RFC 6902).",
}


def json_schema(of_up: Mapping[str, Any], said: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON schema of the file, for editors; `of_up` is the shape of what is for `ktpy up`, described."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ktpy.yaml",
        **schema({"dev": SHAPE["dev"], **of_up}, {**_SAID, **said}),
    }


def translated(entry: Mapping[str, Any], reader: ShapeReader) -> tuple[dict[str, Any], dict[str, str]]:
    """Return an entry in Nocalhost's words, and where each of them is said."""
    said: dict[str, Any] = {}
    places: dict[str, str] = {}
    for own, theirs in NOCALHOSTS.items():
        *outer, key = own.split(".")
        holder = entry.get(outer[0]) if outer else entry
        if holder and key in holder:
            value = holder[key]
            put(said, theirs, ("send" if value else "") if own == "sync.oneWay" else value)
            places[theirs] = reader.places(holder)[key]
    return said, places


def entry_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Nocalhost's words say, by the dotted keys of an entry; what is left at its default is left out."""
    found = {own: value for own, theirs in NOCALHOSTS.items() if (value := look(said, theirs))}
    if "sync.oneWay" in found:
        found["sync.oneWay"] = found["sync.oneWay"] != "sendReceive"
    return {own: value for own, value in found.items() if value}


def look(mapping: Mapping[str, Any], dotted: str) -> Any:
    """Return a value by its dotted key; None where there is none."""
    found: Any = mapping
    for key in dotted.split("."):
        found = (found or {}).get(key)
    return found


def put(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a value by its dotted key, of one or two words."""
    *outer, key = dotted.split(".")
    (mapping.setdefault(outer[0], {}) if outer else mapping)[key] = value
