"""Where a shadow pod has to run that mounts claims which other pods use."""

from collections.abc import Collection
from contextlib import suppress

from ktpy.errors import Forbidden, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, name_of, spec_of, status_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import PODS, Resource
from ktpy.kube.watch import list_all

CLAIMS = Resource("", "v1", "persistentvolumeclaims")
_SHARED = {"ReadWriteMany", "ReadOnlyMany"}
_EXCLUSIVE = "ReadWriteOncePod"


async def placement_beside(api: Api, claims: Collection[str], hint: str) -> Json:
    """Return what the pod's spec needs, so that it runs on the node where the claims are in use; empty for anywhere.

    Raises TargetAbsent for a claim that there is not, TargetUnsuitable for one that a pod has for itself
    (ReadWriteOncePod), and for claims that are in use on several nodes; `hint` says what to do then.
    """
    if not claims:
        return {}
    modes = {claim: await _access_modes(api, claim, hint) for claim in claims}
    users: dict[str, str] = {}
    async for pod in list_all(api, PODS.path(api.namespace)):
        node = spec_of(pod).get("nodeName")
        if node is None or status_of(pod).get("phase") in ("Succeeded", "Failed"):
            continue
        for claim in _claims_of(pod) & set(claims):
            if _EXCLUSIVE in modes[claim]:
                raise TargetUnsuitable(
                    f"Claim {claim} is for one pod alone, and {name_of(pod)} has it; nothing was changed.",
                    hint=hint,
                )
            if not modes[claim] & _SHARED:
                users[claim] = node
    if len(set(users.values())) > 1:
        where = ", ".join(f"{claim} on {node}" for claim, node in sorted(users.items()))
        raise TargetUnsuitable(
            f"The claims are in use on several nodes ({where}), and a pod runs on one; nothing was changed.",
            hint=hint,
        )
    return _on(next(iter(users.values()))) if users else {}


async def one_pods_claims(api: Api, claims: Collection[str], hint: str) -> dict[str, bool]:
    """Return those claims to which the pods of several nodes must not write, or of which that cannot be seen.

    With each goes whether it is for one pod alone (ReadWriteOncePod). Raises TargetAbsent.
    """
    modes = {claim: await _access_modes(api, claim, hint) for claim in claims}
    return {claim: _EXCLUSIVE in one for claim, one in modes.items() if not one & _SHARED}


async def _access_modes(api: Api, claim: str, hint: str) -> set[str]:
    """Return how it may be used; nothing where the user may not see that."""
    with suppress(Forbidden):
        try:
            return set(spec_of(await api.request("GET", CLAIMS.path(api.namespace, claim))).get("accessModes") or ())
        except NotFound as exc:
            raise TargetAbsent(
                f"There is no claim {claim} in namespace {api.namespace}; nothing was changed.",
                hint=hint,
            ) from exc
    return set()


def _claims_of(pod: Json) -> set[str]:
    volumes = spec_of(pod).get("volumes") or []
    return {one["persistentVolumeClaim"]["claimName"] for one in volumes if "persistentVolumeClaim" in one}


def _on(node: str) -> Json:
    """Return the affinity for one node by its name, which needs no label, as the controller of DaemonSets has it."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}
