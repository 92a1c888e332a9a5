"""Finds and removes, for `ktpy clean`, what dead sessions have left in the cluster."""

from dataclasses import dataclass

from ktpy.cluster.changes import dev_found
from ktpy.cluster.changes.dev_found import DevSession
from ktpy.cluster.changes.inventory import Participant, ServiceInventory, take_inventory
from ktpy.cluster.changes.shadow import dead_jobs
from ktpy.cluster.names import OWNER
from ktpy.cluster.sharing import lease
from ktpy.cluster.steps import run_steps
from ktpy.errors import KtpyError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, metadata_of
from ktpy.kube.refusals import Conflict
from ktpy.kube.resources import JOBS
from ktpy.kube.writes import delete

_UNUSED = "no live session uses it"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A Leftover is one thing that `remove` takes away."""

    kind: str
    namespace: str
    name: str
    reason: str


def leftovers_of(found: ServiceInventory) -> list[Leftover]:
    """Return what would go, in the order in which it goes. Pure."""
    dead = found.dead()
    namespace, name = found.service.namespace, found.service.name
    sessions = [Leftover("session", namespace, f"{name}/{one.id}", _why(one)) for one in dead]
    if len(dead) < len(found.participants):
        return sessions  # the living go on using all of it
    is_marked = found.is_redirected or found.has_annotation
    interception = [Leftover("interception", namespace, name, _UNUSED)] if is_marked else []
    return sessions + interception + [Leftover(kind, namespace, one, _UNUSED) for kind, one in found.objects]


async def find(api: Api, namespace: str | None) -> list[Leftover]:
    """Return what dead sessions have left in one namespace, or in all (None), without what live ones use."""
    inventory = await take_inventory(api, namespace)
    jobs = [_leftover_job(job) for job in await dead_jobs(api, namespace)]
    dev = [_leftover_dev(one) for one in await dev_found.find_dead(api, namespace)]
    return [leftover for found in inventory for leftover in leftovers_of(found)] + dev + jobs


async def remove(api: Api, namespace: str | None) -> tuple[list[Leftover], list[KtpyError]]:
    """Remove what `find` finds; return what is gone, and what went wrong. One failure does not stop the rest.

    A session that proves to be alive at the last moment (its Lease cannot be deleted in the version that was judged)
    keeps all of its own.
    """
    removed: list[Leftover] = []
    failures: list[KtpyError] = []
    for found in await take_inventory(api, namespace):
        if not (leftovers := leftovers_of(found)):
            continue
        try:
            dead = await _expire(api, found.dead())
            if dead or not found.participants:
                await run_steps(found.kind.removal(api, found.service, dead))
                names = {f"{found.service.name}/{one}" for one in dead}
                is_deserted = len(dead) == len(found.participants)
                removed += [one for one in leftovers if (one.name in names if one.kind == "session" else is_deserted)]
        except KtpyError as failure:
            failures.append(failure)
    ended, failed = await dev_found.end_dead(api, namespace)
    removed += map(_leftover_dev, ended)
    failures += failed
    for job in await dead_jobs(api, namespace):
        metadata = metadata_of(job)
        path = JOBS.path(metadata["namespace"], metadata["name"])
        try:
            await delete(api, path, metadata["uid"], metadata["resourceVersion"], missing_ok=True)
            removed.append(_leftover_job(job))
        except Conflict:  # its deadline has been put off meanwhile
            continue
        except KtpyError as failure:
            failures.append(failure)
    return removed, failures


def _leftover_job(job: Json) -> Leftover:
    metadata = metadata_of(job)
    return Leftover(
        "job", metadata["namespace"], metadata["name"], f"{labels_of(job).get(OWNER)} is not connected by it"
    )


def _leftover_dev(session: DevSession) -> Leftover:
    reason = _why(Participant(session.id, session.owner, session.lease))
    return Leftover("dev session", session.namespace, f"{session.workload}/{session.id}", reason)


async def _expire(api: Api, dead: list[Participant]) -> frozenset[str]:
    expired = await lease.expire(api, [one.lease for one in dead if one.lease is not None])
    return expired | {one.id for one in dead if one.lease is None}


def _why(participant: Participant) -> str:
    if participant.lease is None:
        return f"of {participant.owner}, whose lease is gone"
    if participant.is_keeper():
        return f"of {participant.owner}, who keeps the gateway of a service that is gone"
    return f"of {participant.owner}, not heard from for {participant.lease.age_s or 0:.0f} s"
