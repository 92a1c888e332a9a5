"""Finds what sessions have in the cluster, by the Service it is about. `ktpy list` shows it, `sweep` judges it.

A session is alive while it renews its Lease. Everything else is looked at before the Leases are, so whoever appears in
it without a Lease has died: a session has its Lease before anything else, and gives it up last.
"""

from dataclasses import dataclass, field

from ktpy.aio.task_group import task_group
from ktpy.cluster import names
from ktpy.cluster.changes.change import InterceptKind, Remains
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.registry import INTERCEPT_KINDS
from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.lease import Lease, leases
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, is_being_deleted, labels_of, metadata_of, name_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.resources import PODS, SERVICES
from ktpy.kube.watch import list_all

_DEPLOYMENT = "deployment"
_KIND_OF_ROLE = {role: kind for kind in INTERCEPT_KINDS for role in kind.roles}


@dataclass(frozen=True, slots=True)
class Participant:
    """A Participant is a session that has a part in a Service."""

    id: str
    owner: str
    lease: Lease | None
    """None: it has died, and its Lease is gone."""
    has_service: bool = True
    """Whether the Service exists still."""

    def is_live(self) -> bool:
        return self.lease is not None and not self.lease.is_expired() and (self.has_service or not self.lease.is_kept)

    def is_keeper(self) -> bool:
        """Whether it is nobody who lives, but keeps the gateway for others."""
        return self.lease is not None and self.lease.is_kept


@dataclass(slots=True)
class ServiceInventory:
    """A ServiceInventory is one Service with all that ktpy has put around it."""

    service: Interceptee
    kind: InterceptKind = GATEWAY
    is_redirected: bool = False
    has_annotation: bool = False
    participants: dict[str, Participant] = field(default_factory=dict)
    """By session id."""
    objects: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name of each object of ktpy's."""

    def dead(self) -> list[Participant]:
        return [one for one in self.participants.values() if not one.is_live()]


async def take_inventory(api: Api, namespace: str | None) -> list[ServiceInventory]:
    """Find all that intercepts have in one namespace, or in all (None)."""
    return (await services_and_inventory(api, namespace))[1]


async def services_and_inventory(api: Api, namespace: str | None) -> tuple[list[Json], list[ServiceInventory]]:
    """Return all Services, and what intercepts have, in one namespace or in all (None)."""
    remaining = dict.fromkeys(remains for kind in INTERCEPT_KINDS for remains in kind.remains)
    async with task_group() as tasks:
        services = tasks.create_task(_listed(api, SERVICES.path(namespace)), name="list services")
        objects = {
            remains.kind: tasks.create_task(_left(api, namespace, remains), name=f"list {remains.kind}")
            for remains in remaining
            if remains.resource is not SERVICES
        }
        pods = tasks.create_task(_listed(api, PODS.path(namespace), names.GATEWAY), name="list pods")
    found = _ByService()
    for service in services.result():
        found.add_service(service)
    for kind, listing in objects.items():
        for item in listing.result():
            found.add_object(kind, item)
    for pod in pods.result():
        found.add_pod(pod)
    return services.result(), found.judge(await leases(api, namespace))  # last: see above


async def _left(api: Api, namespace: str | None, remains: Remains) -> list[Json]:
    managed = f"{names.MANAGED_BY}=ktpy,{names.ROLE} in ({','.join(sorted(_KIND_OF_ROLE))})"
    try:
        return await _listed(api, remains.resource.path(namespace), managed)
    except (Forbidden, NotFound):
        if not remains.is_optional:
            raise
        return []


async def _listed(api: Api, path: str, labels: str = "") -> list[Json]:
    return [item async for item in list_all(api, path, labels=labels)]


class _ByService:
    """Sorts objects by the Service they belong to."""

    def __init__(self) -> None:
        self._found: dict[Interceptee, ServiceInventory] = {}
        self._owners: dict[Interceptee, dict[str, str]] = {}
        """The sessions that appear at each Service, and their owners; an owner that is not known is empty."""
        self._present: set[Interceptee] = set()

    def add_service(self, service: Json) -> None:
        self._present.add(Interceptee(metadata_of(service)["namespace"], name_of(service)))
        if labels_of(service).get(names.MANAGED_BY) == "ktpy":
            self.add_object("service", service)
        elif names.INTERCEPTED in annotations_of(service) or service_state.is_redirected(service):
            state = service_state.read(service)
            found = self._at(service, name_of(service), dict.fromkeys(state.sessions if state is not None else (), ""))
            found.is_redirected = service_state.is_redirected(service)
            found.has_annotation = names.INTERCEPTED in annotations_of(service)

    def add_object(self, kind: str, item: Json) -> None:
        """Add one of ktpy's own."""
        labels = labels_of(item)
        change = _KIND_OF_ROLE.get(labels.get(names.ROLE, ""))
        if change is None or names.TARGET not in labels:
            return
        maker = {labels[names.SESSION]: labels[names.OWNER]}
        owners = maker if change.owns_service else names.holders(annotations_of(item))
        found = self._at(item, labels[names.TARGET], owners)
        found.objects.append((kind, name_of(item)))
        if change.owns_service:
            found.kind = change

    def add_pod(self, pod: Json) -> None:
        """Add a gateway's pod, unless it is ending: whoever may come in there has nothing any more.

        Without its Deployment it ends as soon as the cluster's garbage collector gets to it.
        """
        at = Interceptee(metadata_of(pod)["namespace"], labels_of(pod)[names.GATEWAY])
        found = self._found.get(at)
        if found and any(kind == _DEPLOYMENT for kind, _ in found.objects) and not is_being_deleted(pod):
            self._involve(at, dict.fromkeys(names.authorized_sessions(annotations_of(pod)), ""))

    def judge(self, leases: dict[str, Lease]) -> list[ServiceInventory]:
        for lease in leases.values():
            self._involve(Interceptee(lease.namespace, lease.target), {lease.session: lease.owner})
        for service, found in self._found.items():
            for session, owner in self._owners[service].items():
                own = leases.get(session)
                owner = own.owner if own is not None else owner  # in full there; labels cannot have all of it
                found.participants[session] = Participant(session, owner or "somebody", own, service in self._present)
        return [self._found[service] for service in sorted(self._found)]

    def _at(self, item: Json, name: str, owners: dict[str, str]) -> ServiceInventory:
        return self._involve(Interceptee(metadata_of(item)["namespace"], name), owners)

    def _involve(self, service: Interceptee, owners: dict[str, str]) -> ServiceInventory:
        known = self._owners.setdefault(service, {})
        for session, owner in owners.items():
            known[session] = known.get(session) or owner
        return self._found.setdefault(service, ServiceInventory(service))
