"""Finds who develops what in a cluster. `ktpy dev list` shows it, `ktpy clean` removes what dead sessions have left.

A session is alive while it renews its Lease, by the API server's time. Deployments are listed before the Leases: a
session has its Lease before anything else, and gives it up last.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ktpy.cluster.changes.dev import LEASE_ROLE, Trace, removal
from ktpy.cluster.changes.dev_manifest import DEVELOPS, REPLACE, ROLE, clone_name
from ktpy.cluster.changes.dev_switch import DEVELOPED, Developed, read
from ktpy.cluster.names import MANAGED_BY, SESSION
from ktpy.cluster.names import OWNER as OWNER_LABEL
from ktpy.cluster.names import ROLE as ROLE_LABEL
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.lease import Lease, leases
from ktpy.cluster.steps import run_steps
from ktpy.errors import KtpyError, RestoreIncomplete
from ktpy.kube.client import Api
from ktpy.kube.objects import annotations_of, labels_of, metadata_of, name_of
from ktpy.kube.resources import DEPLOYMENTS
from ktpy.kube.watch import list_all


@dataclass(frozen=True, slots=True)
class DevSession:
    """A DevSession is one session that develops a workload."""

    id: str
    owner: str
    namespace: str
    workload: str
    """KIND/NAME."""
    mode: str
    container: str
    clone: str
    """The name of its Deployment."""
    lease: Lease | None
    is_exclusive: bool = False
    folder: str = ""
    """Where its terminals and programs begin; the image's own without."""

    @property
    def is_live(self) -> bool:
        return self.lease is not None and not self.lease.is_expired()

    @property
    def trace(self) -> Trace:
        return Trace(
            self.namespace, Reference.parse(self.workload), self.clone, frozenset({self.id}), self.is_exclusive
        )

    def data(self) -> dict[str, Any]:
        """Return it as `ktpy dev list --output json` has it."""
        return {
            "workload": self.workload,
            "mode": self.mode,
            "container": self.container,
            "owner": self.owner,
            "session": self.id,
            "is_live": self.is_live,
            "since": self.lease.since if self.lease is not None else "",
        }


async def find(api: Api, namespace: str | None) -> list[DevSession]:
    """Return who develops what in one namespace, or in all (None)."""
    selector = f"{MANAGED_BY}=ktpy,{ROLE_LABEL}={ROLE}"
    deployments = [one async for one in list_all(api, DEPLOYMENTS.path(namespace), labels=selector)]
    alive = await leases(api, namespace, role=LEASE_ROLE)
    told: dict[str, tuple[str, str, Mapping[str, Any]]]
    told = {one.session: (one.namespace, one.owner, one.details) for one in alive.values()}
    for one in deployments:
        session, place = labels_of(one).get(SESSION, ""), metadata_of(one)["namespace"]
        if session not in told:
            told[session] = place, labels_of(one).get(OWNER_LABEL, "somebody"), _details(annotations_of(one))
    found = [_session(session, *what, alive.get(session)) for session, what in told.items()]
    return sorted((one for one in found if one is not None), key=lambda one: (one.namespace, one.workload, one.id))


async def find_dead(api: Api, namespace: str | None) -> list[DevSession]:
    """Return the sessions that are dead; also those of which nothing is left but the annotation of a Deployment."""
    developed = [one async for one in list_all(api, DEPLOYMENTS.path(namespace)) if DEVELOPED in annotations_of(one)]
    found = await find(api, namespace)
    known = {one.id for one in found}.union(await leases(api, namespace, role=LEASE_ROLE) if developed else ())
    noted = []
    for one in developed:
        with suppress(RestoreIncomplete):  # what it says cannot be read
            if (note := read(one)) is not None and note.session not in known:
                reference, place = Reference("deployment", name_of(one)), metadata_of(one)["namespace"]
                clone = clone_name(reference)
                noted.append(DevSession(note.session, note.owner, place, str(reference), REPLACE, "", clone, None))
    return [one for one in found if not one.is_live] + noted


async def end(api: Api, session: DevSession) -> bool:
    """End a session, whoever has it: first it is declared dead, then undone. False when it has renewed its Lease."""
    if session.lease is not None and not await lease.expire(api, [session.lease]):
        return False
    await run_steps(removal(api, session.trace))
    return True


async def end_noted(api: Api, reference: Reference, note: Developed) -> None:
    """Give a workload back whose annotation names a session that has left nothing else: `rollout undo` restores it."""
    trace = Trace(api.namespace, reference, clone_name(reference), frozenset({note.session}))
    await run_steps(removal(api, trace))


async def end_dead(api: Api, namespace: str | None) -> tuple[list[DevSession], list[KtpyError]]:
    """End all dead sessions; return them, and what went wrong. One failure does not stop the rest."""
    ended, failures = [], []
    for one in await find_dead(api, namespace):
        try:
            if await end(api, one):
                ended.append(one)
        except KtpyError as failure:
            failures.append(failure)
    return ended, failures


def _details(annotations: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        found = json.loads(annotations.get(DEVELOPS, "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _session(
    session: str, namespace: str, owner: str, details: Mapping[str, Any], alive: Lease | None
) -> DevSession | None:
    try:
        workload, clone = str(details["workload"]), Reference.parse(f"deployment/{details['clone']}").name
        if Reference.parse(workload).resource is None:
            return None
    except (KeyError, ValueError):  # of a newer version, or made by hand
        return None
    mode, container = (str(details.get(key, "")) for key in ("mode", "container"))
    is_exclusive = bool(details.get("exclusive"))
    folder = str(details.get("folder", ""))
    return DevSession(session, owner, namespace, workload, mode, container, clone, alive, is_exclusive, folder)
