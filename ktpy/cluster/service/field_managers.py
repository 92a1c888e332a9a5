"""Who manages a Service's selector, and how the field is given back to them. Pure.

A client that changes a field becomes its only manager (`metadata.managedFields`, KEP-555). Writing the old value back
does not undo that: kubectl, Helm or a GitOps controller that applies its manifest would be told of a conflict with
ktpy. So an interception notes who managed the selector, and hands the field back to them each time it has written it.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from ktpy.kube.objects import Json, metadata_of

OWN = "ktpy"
"""What the API server calls us, by our User-Agent."""
_IDENTITY = ("manager", "operation", "apiVersion", "time")


def of_selector(service: Json) -> list[Json]:
    """Return who else manages the selector: what identifies their entries, without the fields."""
    entries = _entries(service)
    return [_identity(entry) for entry in entries if entry.get("manager") != OWN and _marks(entry) is not None]


def given_back(service: Json, managers: Iterable[Mapping[str, str]]) -> list[Json] | None:
    """Return the Service's `managedFields` with the selector under `managers`; None when ktpy does not manage it."""
    entries = deepcopy(_entries(service))
    marks = None
    for entry in entries:
        if entry.get("manager") == OWN and _marks(entry) is not None:
            marks = entry["fieldsV1"]["f:spec"].pop("f:selector")
            if not entry["fieldsV1"]["f:spec"]:
                del entry["fieldsV1"]["f:spec"]
    if marks is None:
        return None
    for manager in managers:
        found = [entry for entry in entries if _is_of(entry, manager)]
        if not found:  # the selector was all it managed
            found = [{**manager, "fieldsType": "FieldsV1", "fieldsV1": {}}]
            entries += found
        found[0]["fieldsV1"].setdefault("f:spec", {})["f:selector"] = deepcopy(marks)
    return [entry for entry in entries if entry.get("fieldsV1")]


def _entries(service: Json) -> list[Json]:
    return list(metadata_of(service).get("managedFields") or [])


def _marks(entry: Json) -> Any:
    return ((entry.get("fieldsV1") or {}).get("f:spec") or {}).get("f:selector")


def _identity(entry: Json) -> Json:
    return {key: entry[key] for key in _IDENTITY if key in entry}


def _is_of(entry: Json, manager: Mapping[str, str]) -> bool:
    is_same = all(entry.get(key) == manager.get(key) for key in ("manager", "operation", "apiVersion"))
    return is_same and not entry.get("subresource")
