"""Finds who does what in a cluster at the moment, for `ktpy who`: it reads, and judges by the API server's time.

Intercepts, and gateways that are kept, are Leases; who develops has a Deployment and a Lease; who is connected a Job.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from ktpy.cluster.changes import dev_found, shadow
from ktpy.cluster.names import DESCRIPTION, MANAGED_BY, OWNER, ROLE, SESSION
from ktpy.cluster.sharing.lease import Lease, leases
from ktpy.errors import Forbidden, KtpyError
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, labels_of, metadata_of
from ktpy.kube.resources import JOBS


@dataclass(frozen=True, slots=True)
class Presence:
    """A Presence is one session of anybody's."""

    namespace: str
    kind: str
    """exchange, mesh, tap, preview, keep, dev, connect, run or forward."""
    target: str
    """The Service that is intercepted, or the workload that is developed."""
    description: str
    """What it does, for people."""
    owner: str
    session: str
    is_live: bool
    since: str
    """RFC 3339."""
    ports: tuple[int, ...] = ()
    match: dict[str, Any] | None = None
    local_down: tuple[str, ...] = ()
    """The ports of the Service whose local ports do not answer."""


async def find(api: Api, namespace: str | None, target: str | None = None) -> tuple[list[Presence], list[KtpyError]]:
    """Return who does what in one namespace, or in all (None), and what could not be looked at for want of a right.

    With a `target` it is who intercepts this Service, or develops a workload of this name.
    """
    answers = await asyncio.gather(
        *(look(api, namespace) for look in (_intercepting, _developing, _connected)), return_exceptions=True
    )
    found: list[Presence] = []
    refused: list[KtpyError] = []
    for answer in answers:
        if isinstance(answer, Forbidden):
            refused.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    if target is not None:
        found = [one for one in found if one.target.rpartition("/")[2] == target.rpartition("/")[2]]
    return sorted(found, key=lambda one: (one.namespace, one.target, one.since, one.session)), refused


async def _intercepting(api: Api, namespace: str | None) -> list[Presence]:
    return [_of_lease(one) for one in (await leases(api, namespace)).values()]


def _of_lease(lease: Lease) -> Presence:
    ports, match = lease.details.get("ports"), lease.details.get("match")
    return Presence(
        lease.namespace,
        str(lease.details.get("kind") or "intercept"),
        lease.target,
        lease.description,
        lease.owner,
        lease.session,
        not lease.is_expired(),
        lease.since,
        tuple(ports) if isinstance(ports, list) else (),
        match if isinstance(match, dict) else None,
        lease.local_down,
    )


async def _developing(api: Api, namespace: str | None) -> list[Presence]:
    return [
        Presence(
            one.namespace,
            "dev",
            one.workload,
            f"dev, mode {one.mode}, container {one.container}",
            one.owner,
            one.id,
            one.is_live,
            one.lease.since if one.lease is not None else "",
        )
        for one in await dev_found.find(api, namespace)
    ]


async def _connected(api: Api, namespace: str | None) -> list[Presence]:
    answer, now = await api.dated(JOBS.path(namespace), query={"labelSelector": f"{MANAGED_BY}=ktpy,{ROLE}=shadow"})
    return [_of_job(job, is_live=not shadow.is_dead(job, now)) for job in answer.get("items") or []]


def _of_job(job: Json, *, is_live: bool) -> Presence:
    told, marks, metadata = annotations_of(job), labels_of(job), metadata_of(job)
    does = told.get(DESCRIPTION) or "connect"  # an older ktpy does not tell
    owner = told.get(OWNER) or marks.get(OWNER, "somebody")
    since, session = str(metadata.get("creationTimestamp") or ""), marks.get(SESSION, "")
    return Presence(metadata["namespace"], does.partition(" ")[0], "", does, owner, session, is_live, since)
