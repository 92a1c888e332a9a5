"""The persistent directories of dev containers: claims that outlive every session, until their developer purges them.

Each developer has a claim of his own for each directory of a workload's container; `ktpy clean` leaves them alone.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from ktpy.cluster.changes.dev_manifest import DevPlan
from ktpy.cluster.changes.options import PersistentDir
from ktpy.cluster.names import APP_NAME, MANAGED_BY, OWNER, ROLE, owner_label
from ktpy.cluster.pods.claims import CLAIMS
from ktpy.cluster.service.reference import Reference
from ktpy.errors import NameTaken, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, is_being_deleted, metadata_of, name_of, spec_of, status_of
from ktpy.kube.refusals import Conflict
from ktpy.kube.watch import list_all
from ktpy.kube.writes import delete
from ktpy.wire.pod import DOMAIN

VOLUME: Final = "dev-volume"
"""The role of such a claim, in its labels."""
KEEPS: Final = f"{DOMAIN}/keeps"
"""This annotation of the claim says in JSON which directory of whose it is."""


@dataclass(frozen=True, slots=True)
class DevVolume:
    """A DevVolume is the claim of a persistent directory."""

    claim: str
    uid: str
    workload: str
    """KIND/NAME."""
    container: str
    path: str
    owner: str
    size: str
    storage_class: str | None
    phase: str
    """Pending, Bound or Lost; Terminating while it is used still."""

    def data(self) -> dict[str, Any]:
        """Return it as `ktpy dev volumes --output json` has it."""
        names = ("workload", "container", "path", "owner", "claim", "size", "storage_class", "phase")
        return {name: getattr(self, name) for name in names}


def claim(plan: DevPlan, directory: PersistentDir) -> Json:
    """Return the manifest of the claim."""
    keeps = {
        "workload": str(plan.reference),
        "container": plan.container,
        "path": directory.path,
        "owner": plan.owner,
    }
    marks = {MANAGED_BY: "ktpy", APP_NAME: f"ktpy-{VOLUME}", ROLE: VOLUME, OWNER: owner_label(plan.owner)}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": plan.claim_name(directory.path),
            "namespace": plan.namespace,
            "labels": marks,
            "annotations": {KEEPS: json.dumps(keeps, separators=(",", ":"))},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": directory.size}},
            **({"storageClassName": plan.storage_class} if plan.storage_class else {}),
        },
    }


async def provide(api: Api, plan: DevPlan, directory: PersistentDir) -> bool:
    """Make the claim of a directory, unless there is one. Returns whether it was made.

    Raises TargetUnsuitable for one that is being deleted, NameTaken for one that ktpy has not made.
    """
    wanted = claim(plan, directory)
    try:
        await api.request("POST", CLAIMS.path(plan.namespace), body=wanted)
    except Conflict:
        found = await api.request("GET", CLAIMS.path(plan.namespace, name_of(wanted)))
        if annotations_of(found).get(KEEPS) != annotations_of(wanted)[KEEPS]:
            raise NameTaken(f"There is a claim {name_of(found)} already, which ktpy has not made.") from None
        if is_being_deleted(found):
            raise TargetUnsuitable(
                f"Claim {name_of(found)}, in which {directory.path} is kept, is being deleted.",
                hint="It goes when no pod uses it any more: try again then.",
            ) from None
        return False
    return True


async def find(api: Api, namespace: str) -> list[DevVolume]:
    """Return the persistent directories of everybody's dev containers."""
    selector = f"{MANAGED_BY}=ktpy,{ROLE}={VOLUME}"
    found = [_volume(one) async for one in list_all(api, CLAIMS.path(namespace), labels=selector)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.workload, one.owner, one.path))


async def purge(api: Api, namespace: str, volume: DevVolume) -> None:
    """Delete the claim, and with it what is in there, unless its storage class retains that."""
    await delete(api, CLAIMS.path(namespace, volume.claim), volume.uid, missing_ok=True)


def _volume(item: Json) -> DevVolume | None:
    try:
        keeps = json.loads(annotations_of(item)[KEEPS])
        workload, container, path, owner = (str(keeps[key]) for key in ("workload", "container", "path", "owner"))
        Reference.parse(workload)
    except (KeyError, ValueError, TypeError, RecursionError):  # made by hand
        return None
    spec = spec_of(item)
    size = str(((spec.get("resources") or {}).get("requests") or {}).get("storage", ""))
    phase = "Terminating" if is_being_deleted(item) else str(status_of(item).get("phase") or "Pending")
    return DevVolume(
        name_of(item),
        metadata_of(item)["uid"],
        workload,
        container,
        path,
        owner,
        size,
        spec.get("storageClassName"),
        phase,
    )
