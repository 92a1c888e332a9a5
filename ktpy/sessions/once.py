"""Commands that do one thing in the cluster and end. Each call has its own event loop and API connection."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ktpy.cluster import rbac
from ktpy.cluster.changes import dev_found
from ktpy.cluster.changes import who as who_in_cluster
from ktpy.cluster.changes.inventory import Participant, services_and_inventory
from ktpy.cluster.missing_rights import naming_all_missing, user_name, with_all_missing
from ktpy.cluster.service import ports, targets
from ktpy.cluster.sharing.lease import Lease
from ktpy.daemon.records import Record, Records
from ktpy.daemon.supervision import log_loop_errors
from ktpy.errors import KtpyError
from ktpy.kube.client import Api
from ktpy.kube.objects import name_of
from ktpy.kube.rights import Rule
from ktpy.observe.events import Report
from ktpy.sessions.undo_killed import undo_killed

if TYPE_CHECKING:
    from ktpy.cluster.changes.recover import RecoveredSelector
    from ktpy.cluster.changes.sweep import Leftover

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """A cluster and a namespace as the user names them; None is the kubeconfig's own choice."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    def run(self, work: Callable[[Api], Awaitable[T]], needed: Iterable[Rule] = rbac.INTERCEPT) -> T:
        """Do the work in an event loop, with an API connection that is closed afterwards.

        `needed` are its rights: of those that are missing, all are told.
        """

        async def call() -> T:
            log_loop_errors()
            api = await Api.load(self.kubeconfig, self.context, self.namespace)
            try:
                async with naming_all_missing(api, needed):
                    return await work(api)
            finally:
                await api.close()

        return asyncio.run(call())


def rights(namespace: str, user: str | None, **which: bool) -> str:
    """Return the manifest of the rights that ktpy needs, see `rbac.manifest`; None stands for whom the API server takes
    this user for."""
    return rbac.manifest(namespace, user or ClusterRef().run(user_name), **which)


def services(place: ClusterRef, records: Records | None = None, report: Report = lambda _: None) -> dict[str, Any]:
    """Return what `ktpy list --output json` prints; with `records` after undoing what this user's killed intercepts
    left."""

    async def look(api: Api) -> dict[str, Any]:
        if records is not None:
            await undo_killed(api, records, report)
        present, inventory_of_all = await services_and_inventory(api, api.namespace)
        found = {one.service.name: one for one in inventory_of_all}
        behind = {name for one in found.values() for kind, name in one.objects if kind == "service"}
        listed = []
        for service in present:
            name = name_of(service)
            inventory = found.get(name)
            if inventory is None and name in behind:
                continue  # the origin service of another
            participants = inventory.participants.values() if inventory is not None else ()
            listed.append(
                {
                    "name": name,
                    "type": targets.type_of(service),
                    "ports": ports.as_data(service),
                    "is_preview": inventory is not None and inventory.kind.owns_service,
                    "intercepts": list(map(describe, participants)),
                }
            )
        developed = [one.data() for one in await dev_found.find(api, api.namespace)]
        if not listed:
            await targets.refuse_absent_namespace(api)
        place = {"namespace": api.namespace, "context": api.target.context}
        return {**place, "services": listed, "developed": developed}

    return place.run(look, rbac.LOOK)


def who(place: ClusterRef, service: str | None, *, all_namespaces: bool) -> tuple[dict[str, Any], list[KtpyError]]:
    """Return what `ktpy who --output json` prints, and the rights that were missing for more."""

    async def look(api: Api) -> tuple[dict[str, Any], list[KtpyError]]:
        found, refused = await who_in_cluster.find(api, None if all_namespaces else api.namespace, service)
        if not all_namespaces and not found:
            await targets.refuse_absent_namespace(api)
        told = [await with_all_missing(api, failure, rbac.WHO) for failure in refused]
        sessions = [asdict(one) for one in found]
        namespace = None if all_namespaces else api.namespace
        return {"namespace": namespace, "context": api.target.context, "sessions": sessions}, told

    return place.run(look, rbac.WHO)


def describe(participant: Participant) -> dict[str, Any]:
    lease = participant.lease
    details = lease.details if lease is not None else {}
    return {
        "session": participant.id,
        "owner": participant.owner,
        "description": lease.description if lease is not None else "",
        **{key: details.get(key) for key in ("kind", "ports", "match")},
        "is_live": participant.is_live(),
        "is_keeper": participant.is_keeper(),
        "since": lease.since if lease is not None else "",
        "local_down": list(lease.local_down) if lease is not None else [],
    }


def sweep_dead(
    place: ClusterRef, *, all_namespaces: bool, dry_run: bool
) -> "tuple[list[Leftover], list[KtpyError], list[Lease]]":
    """Remove what dead sessions of any user have left.

    Returns what is gone, or would be, what went wrong, and who keeps gateways, which stay.
    """

    from ktpy.cluster.changes import keeping, sweep  # `ktpy list` need not wait for them

    async def work(api: Api) -> "tuple[list[Leftover], list[KtpyError], list[Lease]]":
        namespace = None if all_namespaces else api.namespace
        found, failures = (await sweep.find(api, namespace), []) if dry_run else await sweep.remove(api, namespace)
        gone = {(one.namespace, one.name) for one in found if one.kind == "session"}
        kept = [
            one
            for one in await keeping.kept(api, namespace)
            if (one.namespace, f"{one.target}/{one.session}") not in gone
        ]
        told = [await with_all_missing(api, failure, rbac.INTERCEPT) for failure in failures]
        return found, told, kept

    return place.run(work, rbac.LOOK if dry_run else rbac.INTERCEPT)


def undo_record(record: Record, records: Records, report: Report) -> None:
    """Undo what this user's killed intercepts have left in the cluster of one of them."""
    place = ClusterRef(record.kubeconfig, record.context, record.namespace)
    place.run(lambda api: undo_killed(api, records, report))


def recover(place: ClusterRef, service: str, *, evict: bool) -> "RecoveredSelector | None":
    """Give one Service back what it selected; None when it needs nothing."""
    from ktpy.cluster.changes.recover import recover as give_back

    return place.run(lambda api: give_back(api, service, evict=evict))
