"""Finds the workload that a Service leads to: the owner of its pods, or where it has none, by the templates of pods."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from ktpy.cluster.names import MANAGED_BY
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import KNOWN, Reference
from ktpy.cluster.service.service_state import selector_for
from ktpy.errors import Forbidden, TargetAbsent, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, metadata_of, name_of, status_of
from ktpy.kube.resources import PODS, SERVICES
from ktpy.kube.watch import list_all

_MADE_BY_OTHERS: Final = ("replicaset", "job")
"""Deployments, Rollouts and CronJobs make these, and keep the template."""
_LISTED: Final = ("deployment", "statefulset", "daemonset")


async def find_service(api: Api, name: str) -> Json | None:
    """Return the Service of this name, by a list: the rights of `connect` have no `get`."""
    found = [one async for one in list_all(api, SERVICES.path(api.namespace), fields=f"metadata.name={name}")]
    return found[0] if found else None


async def workload_behind(api: Api, service: Json) -> Reference:
    """Return the workload that a Service leads to.

    Raises TargetUnsuitable for a Service without pods of the user's, TargetAbsent where no workload is found, and
    TargetAmbiguous for several.
    """
    name, selector = name_of(service), selector_for(service)
    if labels_of(service).get(MANAGED_BY) == "ktpy" or not selector:
        why = "has no selector" if not selector else "is ktpy's own"
        raise TargetUnsuitable(
            f"Service {name} {why}: no workload is behind it; nothing was changed.",
            hint="Name the workload, with its kind: deployment/NAME.",
        )
    found = await _owners(api, selector) or await _by_template(api, selector)
    if len(found) == 1:
        return found[0]
    if found:
        raise TargetAmbiguous(
            f"Service {name} leads to pods of {' and '.join(map(str, found))}; nothing was changed.",
            hint="Name one of them.",
        )
    wanted = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
    raise TargetAbsent(
        f"Service {name} has no pods, and no {' or '.join(_LISTED)} makes pods with {wanted}; nothing was changed.",
        hint="Name the workload, with its kind: deployment/NAME.",
    )


async def _owners(api: Api, selector: Mapping[str, str]) -> list[Reference]:
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = [one async for one in list_all(api, PODS.path(api.namespace), labels=labels)]
    direct = {
        _owner(pod) or Reference("pod", name_of(pod))
        for pod in pods
        if labels_of(pod).get(MANAGED_BY) != "ktpy" and status_of(pod).get("phase") not in ("Succeeded", "Failed")
    }
    return sorted(set(await asyncio.gather(*(_topmost(api, one) for one in direct))), key=str)


async def _topmost(api: Api, reference: Reference) -> Reference:
    while reference.kind in _MADE_BY_OTHERS:
        above = _owner(await targets.fetch_workload(api, reference))
        if above is None:
            break
        reference = above
    return reference


def _owner(item: Json) -> Reference | None:
    """Return the controller of an object."""
    for one in metadata_of(item).get("ownerReferences") or []:
        if one.get("controller"):
            kind, group = one["kind"].lower(), one["apiVersion"].rpartition("/")[0]
            return Reference(kind, one["name"], "" if kind in KNOWN else group)
    return None


async def _by_template(api: Api, selector: Mapping[str, str]) -> list[Reference]:
    """Return the workloads whose pods would have the labels: of the kinds that the user may list."""
    found = []
    for kind in _LISTED:
        with suppress(Forbidden):
            async for item in list_all(api, KNOWN[kind].path(api.namespace)):
                labels = labels_of(targets.template_of(item, kind))
                if labels_of(item).get(MANAGED_BY) != "ktpy" and selector.items() <= labels.items():
                    found.append(Reference(kind, name_of(item)))
    return found


async def present(api: Api) -> list[str]:
    """Return what there is to name, of the kinds that the user may list, Services last."""
    found = []
    for kind, resource in [*((kind, KNOWN[kind]) for kind in (*_LISTED, "cronjob")), ("service", SERVICES)]:
        with suppress(Forbidden):
            found += [
                f"{kind}/{name_of(one)}"
                async for one in list_all(api, resource.path(api.namespace))
                if labels_of(one).get(MANAGED_BY) != "ktpy"
            ]
    return found
