"""What an intercepted Service says about itself, and the patches that put sessions in and take them out. Pure.

While it is intercepted, a Service selects the gateway's pods, and one annotation holds what it selected before and the
sessions that use the gateway: so the last one out is whoever empties that list, and gives the selector back in the
same update. A second one removes the annotation and hands the field back to who managed it before: the API server
notes the writer of every change, so this cannot be done along with the change. Every patch bears the resource version
it was made from; a change in between makes it a Conflict.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ktpy.cluster.intercept import field_managers
from ktpy.cluster.names import GATEWAY, INTERCEPTED

Json = dict[str, Any]
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Interception:
    """The annotation of an intercepted Service."""

    selector: dict[str, str]
    """What it selected before."""
    sessions: tuple[str, ...]
    """None: the selector is given back already, but not whose field it is."""
    managers: tuple[Json, ...] = ()
    """Who managed the selector before."""

    def annotation(self) -> str:
        document: Json = {"version": _VERSION, "selector": self.selector, "sessions": list(self.sessions)}
        if self.managers:
            document["managers"] = list(self.managers)
        return json.dumps(document, separators=(",", ":"))


def read(service: Json) -> Interception | None:
    """The Service's annotation; None without one, or when it is not ktpy's writing."""
    text = (service["metadata"].get("annotations") or {}).get(INTERCEPTED)
    try:
        document = json.loads(text or "null")
        selector, sessions = document["selector"], document["sessions"]
        if not (isinstance(selector, dict) and isinstance(sessions, list)):
            return None
        managers = tuple(dict(one) for one in document.get("managers") or ())
        selector = {str(key): str(value) for key, value in selector.items()}
        return Interception(selector, tuple(map(str, sessions)), managers)
    except (ValueError, TypeError, KeyError):
        return None


def is_redirected(service: Json) -> bool:
    """Whether the Service selects its gateway."""
    return GATEWAY in (service["spec"].get("selector") or {})


def selector_for(service: Json) -> dict[str, str] | None:
    """What the Service selects without its gateway; None when it does not say.

    What others have written since counts: they may have put a selector back, or applied their manifest over ours,
    which leaves their keys beside ours (kubectl apply merges maps).
    """
    selector: dict[str, str] = service["spec"].get("selector") or {}
    if GATEWAY not in selector:
        return selector
    if theirs := {key: value for key, value in selector.items() if key != GATEWAY}:
        return theirs
    return interception.selector if (interception := read(service)) is not None else None


def entering(service: Json, session: str, gone: Iterable[str] = ()) -> Json:
    """The merge patch (RFC 7396) with which a session takes part: the first one redirects the Service.

    `gone` are sessions that have expired. ValueError when it is unknown what the Service selected.
    """
    original = selector_for(service)
    if not original:
        raise ValueError("the original selector is unknown")
    before = read(service) or Interception(original, ())
    managers = tuple(field_managers.of_selector(service)) or before.managers
    sessions = (*(one for one in before.sessions if one not in {session, *gone}), session)
    current = service["spec"].get("selector") or {}
    selector = {**dict.fromkeys(current.keys() - {GATEWAY}), GATEWAY: service["metadata"]["name"]}
    return _patch(service, Interception(original, sessions, managers).annotation(), selector)


def leaving(service: Json, gone: Iterable[str], *, lost_selector: Mapping[str, str] | None = None) -> Json | None:
    """The merge patch with which sessions leave; the last ones give the selector back. None when nothing changes.

    Once the selector is back, another one may be needed, to give back whose field it is.
    `lost_selector` is what the Service selected, from elsewhere, for when the Service itself no longer knows.
    """
    interception = read(service)
    if interception is not None:
        remaining = tuple(one for one in interception.sessions if one not in set(gone))
        if remaining:
            if remaining == interception.sessions:
                return None
            return _patch(service, replace(interception, sessions=remaining).annotation(), {})
    managers = interception.managers if interception is not None else ()
    if not is_redirected(service):
        return _closing(service, managers) if _has_annotation(service) else None
    original = selector_for(service) or lost_selector
    if not original:
        return None
    last = Interception(dict(original), (), managers).annotation() if managers else None
    return _patch(service, last, {GATEWAY: None, **original})


def _closing(service: Json, managers: Iterable[Json]) -> Json:
    """The last patch of all."""
    patch = _patch(service, None, {})
    if (fields := field_managers.given_back(service, managers)) is not None:
        patch["metadata"]["managedFields"] = fields
    return patch


def _has_annotation(service: Json) -> bool:
    return INTERCEPTED in (service["metadata"].get("annotations") or {})


def _patch(service: Json, annotation: str | None, selector: Mapping[str, str | None]) -> Json:
    metadata = service["metadata"]
    patch: Json = {
        "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
    }
    if annotation is not None or _has_annotation(service):
        patch["metadata"]["annotations"] = {INTERCEPTED: annotation}
    if selector:
        patch["spec"] = {"selector": dict(selector)}
    return patch
