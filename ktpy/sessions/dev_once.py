"""`ktpy dev list`, `volumes`, `end` and `reset`: who develops what, what is kept, and how it ends."""

from typing import Any

from ktpy.cluster import rbac
from ktpy.cluster.changes import dev_found, dev_switch, dev_volumes
from ktpy.cluster.changes.dev_volumes import DevVolume
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import find_workload
from ktpy.daemon.caller import Caller
from ktpy.errors import SessionLost, SessionsLive, TargetAbsent
from ktpy.kube.client import Api
from ktpy.sessions.dev_visit import chosen, is_meant, is_of
from ktpy.sessions.once import ClusterRef


def sessions(place: ClusterRef, target: str | None = None) -> dict[str, Any]:
    """Return what `ktpy dev list --output json` prints; of one workload where a target is named."""

    async def look(api: Api) -> dict[str, Any]:
        found = [one for one in await dev_found.find(api, api.namespace) if target is None or is_meant(one, target)]
        return {"namespace": api.namespace, "context": api.target.context, "sessions": [one.data() for one in found]}

    return place.run(look, rbac.DEV)


def volumes(place: ClusterRef, target: str | None = None) -> dict[str, Any]:
    """Return what `ktpy dev volumes --output json` prints; of one workload where a target is named."""

    async def look(api: Api) -> dict[str, Any]:
        found = [one.data() for one in await _volumes(api, target)]
        return {"namespace": api.namespace, "context": api.target.context, "volumes": found}

    return place.run(look, rbac.DEV_VOLUMES)


def purge(place: ClusterRef, target: str | None, caller: Caller) -> dict[str, Any]:
    """Delete the user's own persistent directories, all or of one workload, with what is in there.

    Raises SessionsLive while the user develops one of the workloads.
    """

    async def work(api: Api) -> dict[str, Any]:
        return {"namespace": api.namespace, "purged": await _purge(api, target, caller.owner)}

    return place.run(work, rbac.DEV + rbac.DEV_VOLUMES)


async def _purge(api: Api, target: str | None, owner: str) -> list[dict[str, Any]]:
    own = [one for one in await _volumes(api, target) if one.owner == owner]
    for session in await dev_found.find(api, api.namespace) if own else ():
        if session.owner == owner and session.workload in {one.workload for one in own}:
            raise SessionsLive(
                f"You develop {session.workload} still; nothing was deleted.",
                hint=f"`ktpy dev end {session.workload}` ends that.",
            )
    for one in own:
        await dev_volumes.purge(api, api.namespace, one)
    return [one.data() for one in own]


async def _volumes(api: Api, target: str | None) -> list[DevVolume]:
    found = await dev_volumes.find(api, api.namespace)
    return [one for one in found if target is None or is_of(one.workload, target)]


def end(place: ClusterRef, target: str, caller: Caller, *, purges: bool = False) -> dict[str, Any]:
    """End the user's session that develops a workload; where it `purges`, delete their persistent directories of it.

    Raises InterceptAbsent, TargetAmbiguous, and SessionsLive where it is another's.
    """

    async def work(api: Api) -> dict[str, Any]:
        owner = caller.owner
        session = chosen(await dev_found.find(api, api.namespace), target, owner)
        if session.owner != owner:
            raise SessionsLive(
                f"{session.workload} is developed by {session.owner}; nothing was changed.",
                hint=f"`ktpy dev reset {session.workload}` ends it nevertheless.",
            )
        ended = await _end_all(api, [session])
        if purges:
            ended["purged"] = await _purge(api, session.workload, owner)
        return ended

    return place.run(work, rbac.DEV + (rbac.DEV_VOLUMES if purges else ()))


def reset(place: ClusterRef, target: str) -> dict[str, Any]:
    """Give a workload back, whoever develops it, and whatever is left of that. Raises TargetAbsent and the like."""

    async def work(api: Api) -> dict[str, Any]:
        found = [one for one in await dev_found.find(api, api.namespace) if is_meant(one, target)]
        ended = await _end_all(api, found)
        try:
            reference = (await find_workload(api, Reference.parse(target))).reference
        except TargetAbsent:  # of a workload that is deleted, or by the session's id
            if not found:
                raise
            return ended
        note = dev_switch.read(await targets.fetch_workload(api, reference))
        if note is not None:
            await dev_found.end_noted(api, reference, note)
            ended["ended"].append({"workload": str(reference), "owner": note.owner, "session": note.session})
        return ended

    return place.run(work, rbac.DEV)


async def _end_all(api: Api, found: list[dev_found.DevSession]) -> dict[str, Any]:
    ended = []
    for session in found:
        if not await dev_found.end(api, session):
            raise SessionLost(f"{session.workload} is busy: its session has just renewed its lease.", hint="Try again.")
        ended.append({"workload": session.workload, "owner": session.owner, "session": session.id})
    return {"namespace": api.namespace, "ended": ended}
