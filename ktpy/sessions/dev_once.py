"""`ktpy dev list`, `sync`, `volumes`, `end` and `reset`: who develops what, what is kept, and how it ends."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ktpy.cluster import rbac
from ktpy.cluster.changes import dev_found, dev_switch, dev_volumes
from ktpy.cluster.changes.dev_volumes import DevVolume
from ktpy.cluster.service import targets
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.workload import find_workload
from ktpy.daemon import control_client
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import DEV, RuntimeDirectory
from ktpy.errors import InterceptAbsent, SessionLost, SessionSilent, SessionsLive, TargetAbsent
from ktpy.kube.client import Api
from ktpy.kube.kubeconfig import selected
from ktpy.observe.codec import to_json
from ktpy.observe.status import DevStatus
from ktpy.sessions.dev_visit import chosen, is_meant, is_of
from ktpy.sessions.once import ClusterRef


def sessions(place: ClusterRef, target: str | None, caller: Caller) -> dict[str, Any]:
    """Return what `ktpy dev list --output json` prints; of one workload where a target is named."""
    syncs = {one.session: to_json(one)["sync"] for _, one in _here(caller)}

    async def look(api: Api) -> dict[str, Any]:
        found = [one for one in await dev_found.find(api, api.namespace) if target is None or is_meant(one, target)]
        told = [{**one.data(), "sync": syncs.get(one.id)} for one in found]
        return {"namespace": api.namespace, "context": api.target.context, "sessions": told}

    return place.run(look, rbac.DEV)


def catch_up(place: ClusterRef, target: str, caller: Caller) -> Iterator[dict[str, Any]]:
    """Yield what `ktpy dev sync --output json` prints, as it is, and again once both folders are in step anew.

    Raises InterceptAbsent, SessionLost, and what reading the kubeconfig does.
    """
    there = selected(place.kubeconfig, place.context, place.namespace).target
    for path, one in _here(caller):
        is_there = (one.server, one.namespace) == (there.server, there.namespace)
        if is_there and one.sync is not None and (target == one.session or is_of(one.reference, target)):
            answers = 0
            for answer in control_client.follow(path, "sync"):
                yield {"workload": one.reference, "session": one.session, "sync": answer["sync"]}
                answers += 1
            if answers < 2:
                raise SessionLost(f"The session that develops {one.reference} has ended meanwhile.")
            return
    raise InterceptAbsent(
        f"You develop {target} in no session of this laptop with --sync.",
        hint=f"`ktpy dev status {target}` shows who does; `ktpy dev start {target} --sync DIR` begins.",
    )


def _here(caller: Caller) -> Iterator[tuple[Path, DevStatus]]:
    """Yield the user's sessions on this laptop, with their control sockets."""
    for path in RuntimeDirectory.of(caller).control_sockets(DEV):
        if isinstance(status := control_client.ask_status(path), DevStatus):
            yield path, status


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

    What its container has of --sync comes to this laptop first, where the session is here and its link stands. Raises
    InterceptAbsent, TargetAmbiguous, and SessionsLive where it is another's.
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

    with suppress(InterceptAbsent, SessionLost, SessionSilent):
        for one in catch_up(place, target, caller):
            if one["sync"]["state"] == "cut" or not one["sync"]["is_two_way"]:
                break
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
