"""What sessions have in the cluster, by the Service it is about; `ktpy list` shows it, `leftovers` judges it.

A session is alive while it renews its Lease (`ownership`). Everything else is looked at before the Leases are, so
whoever appears in it without a Lease has died: a session has its Lease before anything else, and gives it up last.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ktpy.cluster.names import (
    GATEWAY,
    INTERCEPTED,
    MANAGED_BY,
    OWNER,
    ROLE,
    SESSION,
    TARGET,
    authorized_sessions,
    holders,
)
from ktpy.cluster.service import service_state
from ktpy.cluster.sharing.lease import EXPIRED_AFTER_S, Lease, leases
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import DEPLOYMENTS, INGRESSES, PODS, SERVICES
from ktpy.kube.watch import list_all

PREVIEW = "preview"
_ROLES = ("gateway", "origin", PREVIEW)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's part in a Service."""

    id: str
    owner: str
    lease: Lease | None
    """None: it has died, and its Lease is gone."""

    def is_live(self, expired_after_s: float = EXPIRED_AFTER_S) -> bool:
        return self.lease is not None and not self.lease.is_expired(expired_after_s)


@dataclass(slots=True)
class Target:
    """A Service, and all that ktpy has put around it."""

    namespace: str
    name: str
    is_preview: bool = False
    is_redirected: bool = False
    has_annotation: bool = False
    sessions: dict[str, Session] = field(default_factory=dict)
    objects: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name of each object of ktpy's."""

    def dead(self, expired_after_s: float = EXPIRED_AFTER_S) -> list[Session]:
        return [one for one in self.sessions.values() if not one.is_live(expired_after_s)]


async def survey(api: Api, namespace: str | None) -> list[Target]:
    """All that ktpy has in one namespace, or in all (None)."""
    managed = f"{MANAGED_BY}=ktpy,{ROLE} in ({','.join(_ROLES)})"
    found = _Arrangement()
    async for service in list_all(api, SERVICES.path(namespace)):
        found.add_service(service)
    async for deployment in list_all(api, DEPLOYMENTS.path(namespace), labels=managed):
        found.add_object("deployment", deployment)
    try:
        async for ingress in list_all(api, INGRESSES.path(namespace), labels=managed):
            found.add_object("ingress", ingress)
    except Forbidden:  # a right that only `preview --ingress` asks for
        pass
    async for pod in list_all(api, PODS.path(namespace), labels=GATEWAY):
        found.add_pod(pod)
    return found.judge(await leases(api, namespace))  # last: see above


class _Arrangement:
    """Objects, sorted by the Service they belong to."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], Target] = {}
        self._involved: dict[tuple[str, str], dict[str, str]] = {}
        """The sessions that appear at each, and their owners where they are known."""

    def add_service(self, service: Json) -> None:
        metadata = service["metadata"]
        annotations = metadata.get("annotations") or {}
        if (metadata.get("labels") or {}).get(MANAGED_BY) == "ktpy":
            self.add_object("service", service)
        elif INTERCEPTED in annotations or service_state.is_redirected(service):
            state = service_state.read(service)
            target = self._target(service, metadata["name"], state.sessions if state is not None else ())
            target.is_redirected = service_state.is_redirected(service)
            target.has_annotation = INTERCEPTED in annotations

    def add_object(self, kind: str, item: Json) -> None:
        """One of ktpy's own."""
        metadata = item["metadata"]
        labels = metadata.get("labels") or {}
        if labels.get(ROLE) == PREVIEW:
            target = self._target(item, labels[TARGET], {labels[SESSION]: labels[OWNER]})
            target.is_preview = True
        elif labels.get(ROLE) in _ROLES and TARGET in labels:
            target = self._target(item, labels[TARGET], holders(metadata.get("annotations") or {}))
        else:
            return
        target.objects.append((kind, metadata["name"]))

    def add_pod(self, pod: Json) -> None:
        """Unless it is ending: whoever may come in there has nothing any more."""
        if "deletionTimestamp" in pod["metadata"]:
            return
        keys = authorized_sessions(pod["metadata"].get("annotations") or {})
        self._target(pod, pod["metadata"]["labels"][GATEWAY], keys)

    def judge(self, leases: dict[str, Lease]) -> list[Target]:
        for lease in leases.values():
            self._involve((lease.namespace, lease.target), {lease.session: lease.owner})
        for key, target in self._targets.items():
            target.sessions = {one: _session(one, owner, leases.get(one)) for one, owner in self._involved[key].items()}
        return [self._targets[key] for key in sorted(self._targets)]

    def _target(self, item: Json, name: str, sessions: Iterable[str]) -> Target:
        key = (item["metadata"]["namespace"], name)
        self._involve(key, sessions)
        return self._targets[key]

    def _involve(self, key: tuple[str, str], sessions: Iterable[str]) -> None:
        """`sessions` may be a mapping to their owners."""
        self._targets.setdefault(key, Target(*key))
        involved = self._involved.setdefault(key, {})
        for one in sessions:
            owner = sessions[one] if isinstance(sessions, dict) else ""
            involved[one] = involved.get(one) or owner


def _session(session: str, owner: str, lease: Lease | None) -> Session:
    """The Lease has the owner's name in full; labels cannot."""
    return Session(session, (lease.owner if lease is not None else owner) or "somebody", lease)
