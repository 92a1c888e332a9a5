"""Compares what the user wants to develop with the cluster. Nothing is changed."""

from typing import Final

from ktpy.cluster.changes import dev_found, dev_patches, dev_switch
from ktpy.cluster.changes.dev import LEASE_ROLE, taken
from ktpy.cluster.changes.dev_manifest import KEEP_PODS, REPLACE, DevPlan, clone_name
from ktpy.cluster.changes.options import DevOptions
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.pods.claims import one_pods_claims, placement_beside
from ktpy.cluster.pods.clothes import chosen_container
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import Workload, find_workload
from ktpy.cluster.sharing.lease import leases
from ktpy.errors import TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, is_being_deleted, spec_of

_CLAIMS_HINT: Final = "The dev pod mounts the workload's claims: they have to be there, and free where the pod runs."


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
        _refuse_unsuitable(workload, found)
        if await _undo_dead(api, reference, found):
            workload, found = await find_workload(api, reference), await targets.fetch_workload(api, reference)
    container = chosen_container(workload.template, options.container)["name"]
    claims = _claims(workload) if not (options.mode == REPLACE and workload.claims_of_set) else []
    of_one = await one_pods_claims(api, claims, _CLAIMS_HINT)
    if options.mode == REPLACE and reference.kind not in KEEP_PODS:  # its pods go first
        claims = [claim for claim in claims if not of_one.get(claim)]
    is_alone = bool(of_one) or (spec_of(found).get("strategy") or {}).get("type") == "Recreate"
    manager = targets.managed_by(found)
    patches, left_out = dev_patches.fitted(options.patches, workload.template["spec"], container)
    warnings = left_out + (
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
        is_alone,
        await placement_beside(api, claims, _CLAIMS_HINT),
        warnings,
        options.sync.remote if options.sync is not None else None,
        options.resources,
        options.env,
        tuple({one.path: one for one in options.persist}.values()),
        options.storage_class,
        patches,
        options.work_dir,
    )


def _refuse_unsuitable(workload: Workload, found: Json) -> None:
    """Raise where the original cannot be switched off, or would lose something by it."""
    reference = workload.reference
    if (owner := dev_switch.controller_of(found)) is not None:
        raise TargetUnsuitable(
            f"{reference} belongs to {owner}, which would put back whatever ktpy changes; nothing was changed.",
            hint=f"Develop that: ktpy dev start {owner}",
        )
    if is_being_deleted(found):
        raise TargetUnsuitable(f"{reference} is being deleted; nothing was changed.")
    retention = spec_of(found).get("persistentVolumeClaimRetentionPolicy") or {}
    if workload.claims_of_set and retention.get("whenScaled") == "Delete":
        raise TargetUnsuitable(
            f"{reference} would lose its volumes when it is switched off (persistentVolumeClaimRetentionPolicy: "
            "whenScaled is Delete); nothing was changed.",
            hint="`--mode duplicate` gives you a pod beside it, with empty volumes.",
        )


async def _undo_dead(api: Api, reference: Reference, found: Json) -> bool:
    """Undo what dead sessions have left of the workload; return whether there was any. Raises RouteTaken."""
    clone = clone_name(reference)
    ours = [one for one in await dev_found.find(api, api.namespace) if one.clone == clone]
    for one in ours:
        if one.is_live or not await dev_found.end(api, one):
            raise taken(str(reference), one.owner)
    note = dev_switch.read(found)
    if note is not None and note.session not in {one.id for one in ours}:
        if note.session in await leases(api, api.namespace, role=LEASE_ROLE):  # of a newer version
            raise taken(str(reference), note.owner)
        await dev_found.end_noted(api, reference, note)
    return bool(ours or note)


def _claims(workload: Workload) -> list[str]:
    volumes = workload.template["spec"].get("volumes") or []
    return [one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one]
