"""Tells which sessions are alive: each renews a Lease, whose age is judged by the API server's clock alone.

The time of a renewal is what the API server wrote down for it (`managedFields`), "now" is the Date header of the
answer that shows it, so that both are by one clock. What laptops write into `renewTime` is only read by people.

The verdict on a dead session is the deletion of its Lease in the version that was judged: if the session has renewed it
in between, the deletion is refused and the session lives. A session that finds its Lease gone is dead, and never comes
back under its id.

Who keeps a gateway for others is nobody who lives: such a Lease has no duration, and stands until it is released.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Any

from ktpy.aio.wakes import boottime_s
from ktpy.cluster.names import (
    APP_NAME,
    DESCRIPTION,
    DETAILS,
    LOCAL_DOWN,
    MANAGED_BY,
    SESSION,
    TARGET,
    labels,
    lease_name,
)
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.errors import ApiUnreachable, Forbidden, KtpyError, SessionLost, Unauthorized
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, Metadata, annotations_of, labels_of, metadata_of, spec_of
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.resources import LEASES
from ktpy.kube.writes import delete, merge_patch

RENEW_EVERY_S = 10.0
LEASE_DURATION_S = 40
EXPIRED_AFTER_S = 60.0
"""A session that is silent for longer is dead. A laptop that sleeps for less keeps its session."""
TELL_AFTER_S = 25.0
"""A session that has failed to renew its Lease for this long says so."""
ROLE = "session"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease is a session's Lease as it was at one moment."""

    session: str
    owner: str
    namespace: str
    target: str
    name: str
    uid: str
    version: str
    age_s: float | None
    """The seconds since the last renewal; None when the API server does not tell: such a session is left alone."""
    description: str = ""
    """What the session does, in its own words."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """The same as data; empty where an older ktpy has made the Lease."""
    since: str = ""
    """When the API server has created it, by RFC 3339."""
    local_down: tuple[str, ...] = ()
    """The ports of the Service whose local ports did not answer at the last renewal."""
    is_kept: bool = False
    """Whether it stands without being renewed."""

    def is_expired(self, after_s: float = EXPIRED_AFTER_S) -> bool:
        return self.age_s is not None and self.age_s > after_s


class OwnLease:
    """An OwnLease is the Lease of this very session."""

    def __init__(
        self,
        api: Api,
        *,
        session: str,
        owner: str,
        target: str,
        description: str = "",
        details: Mapping[str, Any] | None = None,
        role: str = ROLE,
    ) -> None:
        """`role` tells one kind of sessions from others: `leases` finds those of one."""
        self._api, self._role = api, role
        self._annotations = {DESCRIPTION: description, DETAILS: json.dumps(details or {}, separators=(",", ":"))}
        self._session, self._owner, self._target = session, owner, target
        self._path = LEASES.path(api.namespace, lease_name(session))
        self._uid: str | None = None
        self._claimed = asyncio.Event()
        self._renewed_at_s = 0.0

    async def claim(self) -> None:
        """Create the Lease: the first thing a session does in the cluster."""
        manifest: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": lease_name(self._session),
                "namespace": self._api.namespace,
                "labels": labels(self._role, owner=self._owner, session=self._session, target=self._target),
                "annotations": self._annotations,
            },
            "spec": {
                "holderIdentity": self._owner,
                "leaseDurationSeconds": LEASE_DURATION_S,
                "acquireTime": _now(),
                "renewTime": _now(),
            },
        }
        lease = await self._api.request("POST", LEASES.path(self._api.namespace), body=manifest)
        self._uid = metadata_of(lease)["uid"]
        self._renewed_at_s = boottime_s()
        self._claimed.set()

    @property
    def silence_s(self) -> float:
        """The seconds since the Lease was renewed, with the time the laptop has slept."""
        return boottime_s() - self._renewed_at_s

    async def keep(
        self,
        on_trouble: Callable[[float, KtpyError], None] = lambda _silence_s, _error: None,
        local_down: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Renew the Lease until cancelled; may be started before `claim`.

        `on_trouble` is told how long the Lease could not be renewed, and why, each time that fails after TELL_AFTER_S.
        `local_down` names the ports whose local ports do not answer; others see that in the Lease.
        Raises SessionLost when others have taken this session for dead.
        """
        await self._claimed.wait()
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self._patch({"renewTime": _now()}, {LOCAL_DOWN: " ".join(local_down()) or None})
                self._renewed_at_s = boottime_s()
            except (ApiUnreachable, Unauthorized, Forbidden) as exc:  # somebody may log in, or give the right back
                silence_s = self.silence_s
                logger.info("the Lease could not be renewed for %.0f s: %s", silence_s, exc)
                if silence_s >= TELL_AFTER_S:
                    on_trouble(silence_s, exc)

    async def stand(self) -> None:
        """Let the Lease stand when nobody renews it any more. Raises SessionLost as `keep` does."""
        await self._patch({"leaseDurationSeconds": None})

    async def _patch(self, spec: Json, annotations: Mapping[str, str | None] | None = None) -> None:
        patch = {"metadata": {"uid": self._uid, "annotations": annotations or {}}, "spec": spec}
        try:
            await merge_patch(self._api, self._path, patch)
        except (NotFound, Conflict) as exc:
            raise SessionLost(
                f"This session was not heard from for more than {EXPIRED_AFTER_S:g} s, so its part in "
                f"{self._target} has been taken out of the cluster.",
                hint="Start it again.",
            ) from exc


async def release(api: Api, namespace: str, session: str) -> None:
    """Delete the Lease: the last thing a session does. It may be gone, or never have been made."""
    await delete_own(api, LEASES.path(namespace, lease_name(session)), session)


async def leases(api: Api, namespace: str | None, target: str | None = None, *, role: str = ROLE) -> dict[str, Lease]:
    """Return the Leases of ktpy's sessions in one namespace, or in all (None), by session, with their age."""
    query = {
        "labelSelector": f"{MANAGED_BY}=ktpy,{APP_NAME}=ktpy-{role}"
        + (f",{TARGET}={target}" if target is not None else "")
    }
    answer, now = await api.dated(LEASES.path(namespace), query=query)
    found = (_lease(item, now) for item in answer.get("items") or [])
    return {lease.session: lease for lease in found}


async def expire(api: Api, expired: Iterable[Lease]) -> frozenset[str]:
    """Declare sessions dead, each by deleting its Lease as it was judged. Returns those whose Lease was deleted."""
    dead = set()
    for lease in expired:
        path = LEASES.path(lease.namespace, lease.name)
        try:
            await delete(api, path, lease.uid, lease.version, missing_ok=True)
        except Conflict:
            continue
        dead.add(lease.session)
    return frozenset(dead)


def _lease(item: Json, now: datetime) -> Lease:
    metadata, spec, marks = metadata_of(item), spec_of(item), labels_of(item)
    is_kept = spec.get("leaseDurationSeconds") is None
    return Lease(
        session=marks.get(SESSION, ""),
        owner=str(spec.get("holderIdentity") or ""),
        namespace=metadata["namespace"],
        target=marks.get(TARGET, ""),
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        age_s=None if is_kept else _age_s(metadata, now),
        description=annotations_of(item).get(DESCRIPTION, ""),
        details=_details(annotations_of(item).get(DETAILS)),
        since=str(metadata.get("creationTimestamp") or ""),
        local_down=tuple(annotations_of(item).get(LOCAL_DOWN, "").split()),
        is_kept=is_kept,
    )


def _details(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _age_s(metadata: Metadata, now: datetime) -> float | None:
    times = [entry["time"] for entry in metadata.get("managedFields") or [] if entry.get("time")]
    if not times:
        return None
    return (now - max(map(datetime.fromisoformat, times))) / timedelta(seconds=1)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
