"""Patches that a configuration has for the Deployment of a dev pod: what of them fits, and what has to stay. Pure.

They may be written for what Nocalhost makes of a workload: the dev container is `nocalhost-dev`, beside a sidecar.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

from ktpy.cluster.changes.dev_manifest import INSTALLER
from ktpy.cluster.changes.options import DevPatch
from ktpy.kube.objects import Json, annotations_of, labels_of
from ktpy.kube.writes import MERGE_PATCH
from ktpy.wire.pod import DOMAIN

CONTENT_TYPES: Final[Mapping[str, str]] = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": MERGE_PATCH,
    "json": "application/json-patch+json",
}
"""By the types of patches (`kubectl patch --type`)."""
_DEV_CONTAINER, _SIDECAR = "nocalhost-dev", "nocalhost-sidecar"
_PODS_SPEC: Final = ("spec", "template", "spec")
_IN_CONTAINER: Final = re.compile(r"/spec/template/spec/(containers|initContainers)/(\d+)/.*")


def fitted(patches: Iterable[DevPatch], spec: Json, container: str) -> tuple[tuple[DevPatch, ...], tuple[str, ...]]:
    """Return the patches without what is for containers that `spec`, a pod's, has not, and a sentence for each such.

    One with an image of its own is another container, which a patch may add.
    """
    fit: list[DevPatch] = []
    told: list[str] = []
    for one in patches:
        body, strangers = (_steps if one.type == "json" else _merged)(one.body, spec, container)
        told += [f"{one.place}: patch for {name} left out, as the dev pod has no such container." for name in strangers]
        if body or not strangers:
            fit.append(replace(one, body=body))
    return tuple(fit), tuple(told)


def is_whole(patched: Json, made: Json, container: str) -> bool:
    """Tell whether a Deployment still has after a patch what ktpy needs of what it `made`."""
    return _needed(patched, container) == _needed(made, container)


def _merged(body: Json, spec: Json, container: str) -> tuple[Json, list[str]]:
    """Return a patch that is like the object (strategic, or RFC 7396), and the names of the containers left out."""
    body = deepcopy(body)
    way = [inner := body]
    for key in _PODS_SPEC:
        inner = inner.get(key) or {}
        way.append(inner)
    strangers: list[str] = []
    for key in ("containers", "initContainers"):
        present = {one["name"] for one in spec.get(key) or []}
        kept = []
        for one in inner.pop(key, None) or []:
            name = container if one.get("name") == _DEV_CONTAINER else str(one.get("name"))
            if name in present or ("image" in one and name != _SIDECAR):
                kept.append({**one, "name": name})
            else:
                strangers.append(name)
        if kept:
            inner[key] = kept
    for outer, key in reversed(tuple(zip(way, _PODS_SPEC, strict=False))):
        if strangers and not outer.get(key):
            outer.pop(key, None)
    return body, strangers


def _steps(body: list[Json], spec: Json, _container: str) -> tuple[list[Json], list[str]]:
    """Return a patch that is a list of steps (RFC 6902), and the paths of those left out."""

    def is_strange(step: Json) -> bool:
        found = _IN_CONTAINER.fullmatch(str(step.get("path")))
        return found is not None and int(found[2]) >= len(spec.get(found[1]) or [])

    return [one for one in body if not is_strange(one)], [str(one["path"]) for one in body if is_strange(one)]


def _needed(deployment: Json, container: str) -> list[Any]:
    """Return ktpy's marks, that there is no pod yet, and what makes the agent run."""
    template = deployment["spec"]["template"]
    pod = template["spec"]
    chosen = [one for one in pod["containers"] if one["name"] == container]
    brought = [one for one in pod.get("initContainers") or [] if one["name"] == INSTALLER]
    return [
        *(
            {key: value for key, value in found.items() if key.startswith(f"{DOMAIN}/")}
            for found in (
                labels_of(deployment),
                annotations_of(deployment),
                labels_of(template),
                annotations_of(template),
            )
        ),
        deployment["spec"].get("replicas"),
        [one.get("command") for one in (*chosen, *brought)],
        [
            (mount["name"], mount["mountPath"])
            for one in chosen
            for mount in one["volumeMounts"]
            if mount["name"].startswith("ktpy")
        ],
    ]
