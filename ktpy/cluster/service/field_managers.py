"""Who manages a field of an object, and how it is given back to them. Pure.

A client that changes a field becomes its only manager (`metadata.managedFields`, KEP-555). Writing the old value back
does not undo that: kubectl, Helm or a GitOps controller that applies its manifest would be told of a conflict with
ktpy. So ktpy notes who managed the field, and hands it back to them each time it has written it.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, Final

from ktpy.kube.objects import Json, metadata_of

OWN = "ktpy"
"""What the API server calls us, by our User-Agent."""
SELECTOR: Final = ("spec", "selector")
_MANAGER = ("manager", "operation", "apiVersion", "subresource")
_IDENTITY = (*_MANAGER, "time")
_MARKS = "marks"


def of_selector(service: Json) -> list[Json]:
    """Return who else manages the selector of a Service: what identifies their entries, without the fields."""
    return [_identity(entry) for entry in _entries(service) if entry.get("manager") != OWN and _has(entry, SELECTOR)]


def of_field(item: Json, path: tuple[str, ...]) -> list[Json]:
    """Return who else manages the field, or parts of it; with each entry, which."""
    found = [entry for entry in _entries(item) if entry.get("manager") != OWN and _has(entry, path)]
    return [_identity(entry) | {_MARKS: _marks(entry, path)} for entry in found]


def given_back(
    item: Json, managers: Iterable[Mapping[str, Any]], path: tuple[str, ...] = SELECTOR
) -> list[Json] | None:
    """Return the object's `managedFields` with the field under `managers`; None when ktpy does not manage it."""
    entries = deepcopy(_entries(item))
    own = [entry for entry in entries if entry.get("manager") == OWN and _has(entry, path)]
    if not own:
        return None
    marks = [_take(entry["fieldsV1"], path) for entry in own][-1]
    for manager in managers:
        found = [entry for entry in entries if all(entry.get(key) == manager.get(key) for key in _MANAGER)]
        if not found:  # the field was all it managed
            found = [{**_identity(manager), "fieldsType": "FieldsV1", "fieldsV1": {}}]
            entries += found
        parent = found[0]["fieldsV1"]
        for name in path[:-1]:
            parent = parent.setdefault(f"f:{name}", {})
        last = f"f:{path[-1]}"  # parts that it has written meanwhile stay its own
        parent[last] = {**parent.get(last, {}), **deepcopy(manager.get(_MARKS, marks))}
    return [entry for entry in entries if entry.get("fieldsV1")]


def _entries(item: Json) -> list[Json]:
    return list(metadata_of(item).get("managedFields") or [])


def _marks(entry: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found = entry.get("fieldsV1")
    for name in path:
        found = (found or {}).get(f"f:{name}")
    return found


def _has(entry: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    return _marks(entry, path) is not None


def _take(fields: Json, path: tuple[str, ...]) -> Any:
    """Take the field out, with the parents that have no other."""
    name = f"f:{path[0]}"
    if len(path) == 1:
        return fields.pop(name)
    marks = _take(fields[name], path[1:])
    if not fields[name]:
        del fields[name]
    return marks


def _identity(entry: Mapping[str, Any]) -> Json:
    return {key: entry[key] for key in _IDENTITY if key in entry}
