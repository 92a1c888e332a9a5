"""`ktpy dev config`: what a configuration says of a workload, in the words of ktpy.yaml, and where it does."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ktpy.observe.events import Notice, Report
from ktpy.sessions import ktpy_yaml
from ktpy.sessions.dev_config_in_cluster import texts
from ktpy.sessions.dev_configured import found_for
from ktpy.sessions.options import DevOptions

_DEFAULTS: Final = {
    "image": "the workload's",
    "shell": "bash, or else sh",
    "workingDir": "/home/dev with --sync, else the image's",
    "resources": "the workload's",
    "env": "the workload's",
    "envFiles": "none",
    "run": "nothing",
    "build": "nothing",
    "debug.command": "nothing",
    "debug.port": "none",
    "debug.language": "what the command tells",
    "reload": "no",
    "forward": "none",
    "reverse": "none",
    "persist": "nothing",
    "storageClass": "the cluster's",
    "sync.oneWay": "no",
    "sync.deleteProtection": "no",
    "sync.initial": "both are kept",
    "sync.only": "everything",
    "sync.ignore": ".gitignore and .ktpyignore alone",
    "patches": "none",
}


def shown(options: DevOptions, report: Report) -> dict[str, Any]:
    """Return what `ktpy dev config --output json` prints. Raises UsageError for what cannot be understood."""
    found = found_for(options, report, texts)
    for notice in found.left_out():
        report(Notice(f"{found.name}: {notice}"))
    said = ktpy_yaml.entry_of(found.said)
    return {
        "workload": options.target,
        "container": options.container or found.container or None,
        "source": found.name or None,
        "values": [
            {"key": key, "value": said.get(key), "place": found.places[theirs] if key in said else None}
            for key, theirs in ktpy_yaml.NOCALHOSTS.items()
        ],
        "unused": list(found.unused),
    }


def as_yaml(found: Mapping[str, Any]) -> str:
    """Return a ktpy.yaml that says the same."""
    import yaml

    entry: dict[str, Any] = {key: found[key] for key in ("workload", "container") if found[key]}
    for one in found["values"]:
        if one["place"]:
            ktpy_yaml.put(entry, one["key"], one["value"])
    text: str = yaml.safe_dump({"dev": [entry]}, sort_keys=False, allow_unicode=True)
    return text.rstrip("\n")


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is for people: a line for each value."""
    yield f"{found['workload']}: {found['source'] or 'no configuration says anything of it'}"
    for one in found["values"]:
        value = json.dumps(one["value"]) if one["place"] else _DEFAULTS[one["key"]]
        place = f"{one['place']}: " if one["place"] else "by default "
        yield f"  {one['key']:22}{place}{value}"
