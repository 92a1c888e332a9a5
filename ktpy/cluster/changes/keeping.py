"""A gateway that stays when nobody intercepts: it is kept by a session without a laptop.

Connections that clients keep reach the pods that the Service led to when they were made. Those through a gateway that
stands already see each exchange and mesh from the next request on.

Keeping is an entry like any other's, and at its end the Lease stands without being renewed. One that is killed before
leaves a session that dies: `ktpy clean` takes it out, and the gateway relays to the original pods until then.
"""

from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from ktpy.aio.background_task import background_task
from ktpy.aio.first_of import first_of
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster.changes.change import ClusterChange
from ktpy.cluster.changes.gateway_exit import GatewayExit
from ktpy.cluster.changes.gateway_manifest import image_of
from ktpy.cluster.changes.inventory import Participant, take_inventory
from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.lease import Lease, leases
from ktpy.cluster.steps import run_steps
from ktpy.kube.client import Api
from ktpy.kube.refusals import NotFound


@dataclass(frozen=True, slots=True)
class StandingGateway:
    """A StandingGateway is the gateway of one Service as it was at one moment, with all who have a part in it."""

    service: Interceptee
    participants: tuple[Participant, ...]
    is_redirected: bool
    """Whether the Service leads to it."""
    image: str | None
    """None where there is no gateway."""

    @property
    def keepers(self) -> list[Participant]:
        return [one for one in self.participants if one.is_keeper()]


async def look(api: Api, service: Interceptee) -> StandingGateway:
    """Find the gateway of a Service. It may have none, and the Service need not exist."""
    inventory = await take_inventory(api, service.namespace)
    found = next((one for one in inventory if one.service == service and not one.kind.owns_service), None)
    image: str | None = None
    with suppress(NotFound):
        image = image_of(await api.request("GET", service.gateway_path))
    participants = sorted(found.participants.values(), key=_since) if found is not None else ()
    return StandingGateway(service, tuple(participants), found is not None and found.is_redirected, image)


async def keep(
    api: Api, service: Interceptee, change: ClusterChange, session: str, on_step: Callable[[str], None]
) -> Lease:
    """Make the change and let it stand; return the Lease of who keeps the gateway.

    That is an earlier one's where the Service is kept already: then this session has mended what was missing, and has
    left. Raises what the entry refuses; whatever ends it before the end undoes it.
    """
    renewal = change.lease.keep()
    async with background_task(renewal, "renew the lease") as renewing, AsyncExitStack() as undo:
        undo.push_async_callback(uninterrupted, change.leave)
        async with background_task(change.enter(on_step), "enter") as entering:
            (await first_of(entering, renewing)).result()
        sharing = await leases(api, service.namespace, service.name)
        state = service_state.read(await api.request("GET", service.service_path))
        keepers = [one for one in sharing.values() if one.is_kept]
        for one in keepers:
            if state is not None and one.session in state.sessions:
                return one
        await change.lease.stand()
        undo.pop_all()
    # Of a Service that was deleted and made anew they keep nothing any more.
    await leave(api, service, [one.session for one in keepers])
    return sharing[session]


async def leave(api: Api, service: Interceptee, keepers: Collection[str]) -> None:
    """Take keepers out, as sessions leave: where others intercept the Service, its gateway stays until they leave."""
    if keepers:
        await run_steps(GatewayExit(api, service, keepers).steps)


async def kept(api: Api, namespace: str | None) -> list[Lease]:
    """Return the Leases of those who keep gateways in one namespace, or in all (None)."""
    return [one for one in (await leases(api, namespace)).values() if one.is_kept]


def _since(participant: Participant) -> tuple[str, str]:
    return (participant.lease.since if participant.lease is not None else "", participant.id)
