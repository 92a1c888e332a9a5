"""Finds the workload whose pod's surroundings the user wants: `web`, `deploy/web`, `sts/db`, `pod/web-0`, `svc/web`."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workloads_behind import find_service, present, workload_behind
from ktpy.errors import Forbidden, TargetAbsent, TargetAmbiguous, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, name_of, spec_of

BY_NAME = ("deployment", "statefulset", "daemonset", "cronjob", "job", "pod")
"""A bare name is looked up among these kinds."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A Workload makes pods of one template."""

    reference: Reference
    template: Json
    claims_of_set: Mapping[str, str] = field(default_factory=dict)
    """The claims that a StatefulSet makes for its first pod, by the name of the volume."""
    service: str | None = None
    """The Service that the user named, and which leads to it."""


async def find_workload(api: Api, reference: Reference) -> Workload:
    """Return the workload that is meant.

    A bare name is a workload's, or else a Service's. Raises TargetAbsent, TargetAmbiguous for a name that several kinds
    have and for a Service of several workloads, TargetUnsuitable for what makes no pods, UsageError for a kind that
    there is not, NamespaceAbsent and Forbidden.
    """
    if reference.kind == "service" and not reference.group:
        find = _by_name if reference.is_bare else _by_service
        if (workload := await find(api, reference.name)) is None:
            raise await targets.service_absent(api, reference.name)
        return workload
    found = await targets.fetch_workload(api, reference)
    template = targets.template_of(found, reference.kind)
    if not (template.get("spec") or {}).get("containers"):
        raise TargetUnsuitable(f"{reference} has no template of pods; nothing was changed.")
    return Workload(reference, template, _claims_of_set(found))


def _claims_of_set(found: Json) -> dict[str, str]:
    spec = spec_of(found)
    first = (spec.get("ordinals") or {}).get("start", 0)
    names = [name_of(one) for one in spec.get("volumeClaimTemplates") or []]
    return {name: f"{name}-{name_of(found)}-{first}" for name in names}


async def _by_service(api: Api, name: str) -> Workload | None:
    if (service := await find_service(api, name)) is None:
        return None
    return replace(await find_workload(api, await workload_behind(api, service)), service=name)


async def _by_name(api: Api, name: str) -> Workload:
    async def look(kind: str) -> Workload | TargetAbsent | Forbidden:
        try:
            return await find_workload(api, Reference(kind, name))
        except (TargetAbsent, Forbidden) as error:
            return error

    answers = await asyncio.gather(*map(look, BY_NAME))
    found = [one for one in answers if isinstance(one, Workload)]
    if len(found) > 1:
        named = " and ".join(str(one.reference) for one in found)
        raise TargetAmbiguous(
            f"Namespace {api.namespace} has {named}; nothing was changed.", hint="Name one of them, with its kind."
        )
    if found:
        return found[0]
    if all(isinstance(one, Forbidden) for one in answers):
        raise next(one for one in answers if isinstance(one, Forbidden))
    if behind := await _by_service(api, name):
        return behind
    unseen = [kind for kind, one in zip(BY_NAME, answers, strict=True) if isinstance(one, Forbidden)]
    hint = f"You may not see its {', '.join(f'{kind}s' for kind in unseen)}: ktpy rbac --run tells the rights. "
    here = await present(api)
    raise TargetAbsent(
        f"There is no {', '.join(BY_NAME)} or service {name} in namespace {api.namespace}; nothing was changed.",
        hint=hint * bool(unseen) + (f"It has {targets.listing(here)}." if here else "It has none at all."),
    )
