"""What keeps a workload from having pods while somebody develops it, and how that is taken back. Pure.

One field of the workload does it, by its kind. Its value, and who manages it, go into an annotation of the workload, in
the same update that changes the field. The field is given back by one update, and its managers by a second one, which
takes the annotation away: who stops in between leaves something that says what is left to do.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ktpy.cluster.service import field_managers
from ktpy.errors import RestoreIncomplete
from ktpy.kube.objects import Json, annotations_of, name_of, parse_object, status_of, version_of
from ktpy.wire.pod import DOMAIN

DEVELOPED: Final = f"{DOMAIN}/developed"
"""This annotation of the workload holds who develops it, the field's value, and its managers."""
_NOWHERE: Final = {f"{DOMAIN}/developed": "elsewhere"}


@dataclass(frozen=True, slots=True)
class Switch:
    """A Switch is the field that decides whether a workload of one kind has pods, or its pods a Service."""

    path: tuple[str, ...]
    off: Any

    def value(self, item: Json) -> Any:
        """Return the field's value; None where there is none."""
        found: Any = item
        for name in self.path:
            found = (found or {}).get(name)
        return found

    def back(self, item: Json, before: Any) -> Json | None:
        """Return the merge patch that gives the field back; None when it has another value of somebody's.

        Of a map only ktpy's keys go, and what is missing comes back: others may have added keys meanwhile.
        """
        present = self.value(item) or {}
        if not isinstance(self.off, Mapping):
            return None if self.value(item) != self.off or before == self.off else self.patch(item, before)
        before = before if isinstance(before, Mapping) else {}
        if not self.off.items() <= present.items():
            return None
        missing = {key: value for key, value in before.items() if key not in present}
        wanted = missing | dict.fromkeys(self.off)
        return self._at_path(wanted if before or present.keys() - self.off.keys() else None) if wanted else None

    def patch(self, item: Json, wanted: Any) -> Json:
        """Return the merge patch (RFC 7396) after which the field has this value."""
        present = self.value(item)
        if isinstance(wanted, Mapping) and isinstance(present, Mapping):
            wanted = dict.fromkeys(present) | dict(wanted)
        return self._at_path(wanted)

    def _at_path(self, wanted: Any) -> Json:
        last, *parents = reversed(self.path)
        patch: Json = {last: wanted}
        for name in parents:
            patch = {name: patch}
        return patch


REPLICAS: Final = Switch(("spec", "replicas"), 0)
SWITCHES: Final[Mapping[str, Switch | None]] = {
    "deployment": REPLICAS,
    "statefulset": REPLICAS,
    "replicaset": REPLICAS,
    "daemonset": Switch(("spec", "template", "spec", "nodeSelector"), _NOWHERE),
    "cronjob": Switch(("spec", "suspend"), True),
    "pod": Switch(("metadata", "labels"), {}),
    "job": None,
}
"""By the kinds that can be developed; a Job is done once, whatever happens beside it."""


@dataclass(frozen=True, slots=True)
class Developed:
    """A Developed is what the annotation says."""

    session: str
    owner: str
    value: Any
    managers: tuple[Json, ...]

    def annotation(self) -> str:
        """Render the annotation's value."""
        fields = {"session": self.session, "owner": self.owner, "value": self.value, "managers": self.managers}
        return json.dumps(fields, separators=(",", ":"))


def read(item: Json) -> Developed | None:
    """Return what the workload's annotation says; None without one. Raises RestoreIncomplete for one that is broken."""
    text = annotations_of(item).get(DEVELOPED)
    if text is None:
        return None
    try:
        found = parse_object(text)
        return Developed(str(found["session"]), str(found["owner"]), found["value"], _managers(found["managers"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise RestoreIncomplete(
            f"The annotation {DEVELOPED} of {name_of(item)} cannot be read, so nothing tells what it was like.",
            hint=f"Put right what it says, or remove it: kubectl annotate KIND/{name_of(item)} {DEVELOPED}-",
        ) from exc


def with_record(item: Json, kept: Developed | None) -> Json:
    """Return the workload with the annotation that others have dropped meanwhile (`kubectl replace`)."""
    if kept is None or DEVELOPED in annotations_of(item):
        return item
    annotations = {**annotations_of(item), DEVELOPED: kept.annotation()}
    return {**item, "metadata": {**item["metadata"], "annotations": annotations}}


def switching_off(item: Json, switch: Switch, session: str, owner: str) -> Json | None:
    """Make the patch after which the workload has no pods, or its pod no Service. None when that is so."""
    if read(item) is not None:
        return None
    managers = tuple(field_managers.of_field(item, switch.path))
    note = Developed(session, owner, switch.value(item), managers).annotation()
    annotated: Json = {"metadata": version_of(item) | {"annotations": {DEVELOPED: note}}}
    return _merged(annotated, switch.patch(item, switch.off))


def switching_on(item: Json, switch: Switch, gone: Collection[str]) -> Json | None:
    """Make the patch that gives the field its value back; None when it has it, or has another one of somebody's."""
    before = read(item)
    if before is None or before.session not in gone:
        return None
    back = switch.back(item, before.value)
    return None if back is None else _merged({"metadata": version_of(item)}, back)


def closing(item: Json, switch: Switch, gone: Collection[str]) -> Json | None:
    """Make the last patch: the field's managers are what they were, and the annotation is gone. None when it is."""
    before = read(item)
    if before is None or before.session not in gone:
        return None
    metadata: Json = {**version_of(item), "annotations": {DEVELOPED: None}}
    if (fields := field_managers.given_back(item, before.managers, switch.path)) is not None:
        metadata["managedFields"] = fields
    # What is scaled to 0 by now is somebody's wish; a key of ktpy's in a map is nobody's else.
    back = switch.back(item, before.value) if isinstance(switch.off, Mapping) else None
    return _merged({"metadata": metadata}, back or {})


def serves(item: Json, kind: str) -> bool:
    """Tell whether the workload's own pods are ready, as many as are wanted; of kinds that have none, True."""
    status, generation = status_of(item), item["metadata"].get("generation")
    if kind not in ("deployment", "statefulset", "replicaset", "daemonset"):
        return True
    wanted = status.get("desiredNumberScheduled") if kind == "daemonset" else item["spec"].get("replicas", 1)
    ready = status.get("numberReady" if kind == "daemonset" else "readyReplicas") or 0
    return status.get("observedGeneration") == generation and ready >= (wanted or 0)


def label_selector(item: Json) -> str:
    """Return the selector of the workload's pods, as a list of pods takes it."""
    selector: Json = item["spec"].get("selector") or {}
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or []:
        key, values = one["key"], ",".join(one.get("values") or [])
        kinds = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}
        terms.append(kinds.get(one["operator"], f"!{key}"))
    return ",".join(terms)


def controller_of(item: Json) -> str | None:
    """Return KIND/NAME of what owns the workload, and would put back whatever is changed; None for nobody."""
    owners: list[Json] = item["metadata"].get("ownerReferences") or []
    return next((f"{one['kind'].lower()}/{one['name']}" for one in owners if one.get("controller")), None)


def _managers(found: Any) -> tuple[Json, ...]:
    """Return what the annotation says of the managers. Raises TypeError for what is none of ktpy's."""
    if all(isinstance(one, dict) and isinstance(one.get("marks", {}), dict) for one in found):
        return tuple(found)
    raise TypeError("its managers are no objects")


def _merged(patch: Json, more: Mapping[str, Any]) -> Json:
    for key, value in more.items():
        patch[key] = _merged(dict(patch.get(key) or {}), value) if isinstance(value, Mapping) else value
    return patch
