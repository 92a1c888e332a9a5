"""Compares what the user wants to develop with the cluster. Nothing is changed."""

from ktpy.cluster.changes import dev_found, dev_switch
from ktpy.cluster.changes.dev import taken
from ktpy.cluster.changes.dev_manifest import REPLACE, DevPlan, clone_name
from ktpy.cluster.changes.options import DevOptions
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.pods.claims import placement_beside
from ktpy.cluster.pods.clothes import chosen_container
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import Workload, find_workload
from ktpy.errors import TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, is_being_deleted


async def prepare(api: Api, options: DevOptions, session: SessionIdentity) -> DevPlan:
    """Return what would be done.

    Raises TargetAbsent, TargetAmbiguous, TargetUnsuitable for what cannot be developed, RouteTaken where somebody
    replaces the workload.
    """
    workload = await find_workload(api, Reference.parse(options.target))
    reference = workload.reference
    if reference.kind not in dev_switch.SWITCHES or reference.resource is None:
        raise TargetUnsuitable(
            f"{reference} cannot be developed; nothing was changed.",
            hint=f"What can be: {', '.join(dev_switch.SWITCHES)}.",
        )
    found = await targets.fetch_workload(api, reference)
    if options.mode == REPLACE:
        await _refuse_taken(api, reference, found)
    container = chosen_container(workload.template, options.container)["name"]
    claims = _claims(workload) if not (options.mode == REPLACE and workload.claims_of_set) else []
    manager = targets.managed_by(found)
    warnings = (
        f"{reference} is managed by {manager}, which may switch it on again while the dev pod runs beside it.",
    ) * (manager is not None and options.mode == REPLACE)
    return DevPlan(
        reference,
        api.namespace,
        workload.template,
        container,
        options.mode,
        session.id,
        session.owner,
        session.public_key,
        options.agent_image,
        options.image,
        workload.claims_of_set,
        await placement_beside(api, claims),
        warnings,
        options.sync.remote if options.sync is not None else None,
        options.resources,
        options.env,
    )


async def _refuse_taken(api: Api, reference: Reference, found: Json) -> None:
    """Raise where the original cannot be switched off. What a dead session has left of it is undone first."""
    if (owner := dev_switch.controller_of(found)) is not None:
        raise TargetUnsuitable(
            f"{reference} belongs to {owner}, which would put back whatever ktpy changes; nothing was changed.",
            hint=f"Develop that: ktpy dev start {owner}",
        )
    if is_being_deleted(found):
        raise TargetUnsuitable(f"{reference} is being deleted; nothing was changed.")
    clone = clone_name(reference)
    for one in await dev_found.find(api, api.namespace):
        if one.clone == clone and (one.is_live or not await dev_found.end(api, one)):
            raise taken(str(reference), one.owner)


def _claims(workload: Workload) -> list[str]:
    volumes = workload.template["spec"].get("volumes") or []
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
