"""What an intercepted Service says about itself, and the patches that put sessions in and take them out. Pure.

An intercepted Service selects the gateway's pods by one of its own keys; the value is the gateway's name. Somebody who
applies the Service's manifest meanwhile (kubectl, Helm and Argo CD merge maps) writes over exactly that key, and the
Service leads to its own pods. With a key of ktpy's it would select by both, and no pod has both.

One annotation holds what the Service selected before, and the sessions that use the gateway. The session that empties
that list is the last one out, and gives the selector back in the same update.

Whenever ktpy has written the selector, a second update hands the field back to its former managers, so that nobody's
manifest meets a conflict. It has to be a second one, because the API server notes the writer of every change. Every
patch bears the resource version it was made from; a change in between makes it a Conflict.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ktpy.cluster.names import GATEWAY, INTERCEPTED, gateway_name
from ktpy.cluster.service import field_managers
from ktpy.frozen import dataclass
from ktpy.kube.objects import Json, annotations_of, name_of, version_of

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Interception:
    """The annotation of an intercepted Service."""

    selector: dict[str, str]
    """What the Service selected before."""
    sessions: tuple[str, ...]
    """Empty when the selector has been given back already, but the field has not."""
    managers: tuple[Json, ...] = ()
    """Who managed the selector before."""

    def annotation(self) -> str:
        document: Json = {"version": _VERSION, "selector": self.selector, "sessions": list(self.sessions)}
        if self.managers:
            document["managers"] = list(self.managers)
        return json.dumps(document, separators=(",", ":"))


def read(service: Json) -> Interception | None:
    """Return the Service's annotation; None without one, or when something else than ktpy has written it."""
    text = annotations_of(service).get(INTERCEPTED)
    try:
        document = json.loads(text or "null")
        selector, sessions = document["selector"], document["sessions"]
        if not (isinstance(selector, dict) and isinstance(sessions, list)):
            return None
        managers = tuple(dict(one) for one in document.get("managers") or ())
        selector = {str(key): str(value) for key, value in selector.items()}
        return Interception(selector, tuple(map(str, sessions)), managers)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def redirecting_labels(target: str, selector: Iterable[str]) -> dict[str, str]:
    """Labels for the gateway's pods, by the keys that the Service selects by."""
    return dict.fromkeys(selector, gateway_name(target))


def is_redirected(service: Json) -> bool:
    """Whether the Service selects its gateway."""
    return bool(_ours(service))


def selector_for(service: Json) -> dict[str, str] | None:
    """Return what the Service selects without its gateway; None when it does not say.

    What others have written since counts: they may have put a selector back, or have added keys to ktpy's.
    """
    selector: dict[str, str] = service["spec"].get("selector") or {}
    if not (ours := _ours(service)):
        return selector
    interception = read(service)
    if theirs := {key: value for key, value in selector.items() if key not in ours}:
        before = interception.selector if interception is not None else {}
        return {key: value for key, value in before.items() if key in ours} | theirs
    return interception.selector if interception is not None else None


def entering(service: Json, session: str, gateway: Mapping[str, str], gone: Iterable[str] = ()) -> Json:
    """Make the merge patch (RFC 7396) with which a session takes part; the first session's redirects the Service.

    `gateway` are the labels of the gateway's pods, `gone` sessions that have expired. Raises ValueError when it is
    unknown what the Service selected.
    """
    original = selector_for(service)
    if not original:
        raise ValueError("the original selector is unknown")
    before = read(service) or Interception(original, ())
    managers = tuple(field_managers.of_selector(service)) or before.managers
    sessions = (*(one for one in before.sessions if one not in {session, *gone}), session)
    name = name_of(service)
    own_keys = [key for key in sorted(original) if gateway.get(key) == gateway_name(name)]
    # Pods of a gateway that was made when the Service selected by other keys do not have it.
    redirected = {own_keys[0]: gateway_name(name)} if own_keys else {GATEWAY: name}
    replaced = dict.fromkeys(service["spec"].get("selector") or {})
    return _patch(service, Interception(original, sessions, managers).annotation(), {**replaced, **redirected})


def handing_over(service: Json) -> Json | None:
    """Make the merge patch after that: the selector's former managers get the field back. None when it is theirs."""
    interception = read(service)
    if interception is None or (fields := field_managers.given_back(service, interception.managers)) is None:
        return None
    return {"metadata": version_of(service) | {"managedFields": fields}}


def leaving(service: Json, gone: Iterable[str], *, lost_selector: Mapping[str, str] | None = None) -> Json | None:
    """Make the merge patch with which sessions leave; the last ones give the selector back. None: nothing changes.

    Once the selector is back, a second patch may be needed, to give the field back to its former managers.
    `lost_selector` is what the Service selected, from elsewhere, for when the Service itself does not say any more.
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
    return _patch(service, last, {**dict.fromkeys(_ours(service)), **original})


def _closing(service: Json, managers: Iterable[Json]) -> Json:
    """Make the last patch of all, which removes the annotation."""
    patch = _patch(service, None, {})
    if (fields := field_managers.given_back(service, managers)) is not None:
        patch["metadata"]["managedFields"] = fields
    return patch


def _ours(service: Json) -> list[str]:
    """The keys of the selector by which the Service selects its gateway."""
    selector: dict[str, str] = service["spec"].get("selector") or {}
    name = gateway_name(name_of(service))
    return [key for key, value in selector.items() if key == GATEWAY or value == name]


def _has_annotation(service: Json) -> bool:
    return INTERCEPTED in annotations_of(service)


def _patch(service: Json, annotation: str | None, selector: Mapping[str, str | None]) -> Json:
    patch: Json = {"metadata": version_of(service)}
    if annotation is not None or _has_annotation(service):
        patch["metadata"]["annotations"] = {INTERCEPTED: annotation}
    if selector:
        patch["spec"] = {"selector": dict(selector)}
    return patch
