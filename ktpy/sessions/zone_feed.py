"""Keeps the DNS zone current: watch events of Services and EndpointSlices, as far as the user may see them."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ktpy.aio.task_group import task_group
from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from ktpy.kube.watch import Delete, Synced, Upsert, watch

if TYPE_CHECKING:
    from ktpy.dns.zone import Zone

logger = logging.getLogger(__name__)


async def feed_zone(api: Api, zone: "Zone", on_slice: Callable[[Json], None]) -> None:
    """Fill the zone until cancelled; `on_slice` sees each EndpointSlice, too.

    Names that may not be watched are left to the cluster's own DNS.
    Where the whole cluster may not be watched, the session's namespace is. Raises Forbidden when not even that may be.
    """
    try:
        await _watch(api, zone, on_slice, None)
    except Forbidden:
        logger.info("services of the whole cluster are not ours to see: watching namespace %s", api.namespace)
        zone.set_scope({api.namespace})
        await _watch(api, zone, on_slice, api.namespace)


async def _watch(api: Api, zone: "Zone", on_slice: Callable[[Json], None], namespace: str | None) -> None:
    unsynced = {SERVICES, ENDPOINT_SLICES}

    def upsert_slice(obj: Json) -> None:
        zone.upsert_endpoint_slice(obj)
        on_slice(obj)

    async def follow(resource: Resource, upsert: Callable[[Json], None], delete: Callable[[str, str], None]) -> None:
        async for event in watch(api, resource.path(namespace), is_patient=True):  # a lost link is the tunnel's to tell
            match event:
                case Upsert(obj):
                    upsert(obj)
                case Delete(obj):
                    delete(obj["metadata"]["namespace"], obj["metadata"]["name"])
                case Synced():
                    unsynced.discard(resource)
                    if not unsynced:
                        zone.synced = True

    async with task_group() as watches:
        for resource, upsert, delete in (
            (SERVICES, zone.upsert_service, zone.delete_service),
            (ENDPOINT_SLICES, upsert_slice, zone.delete_endpoint_slice),
        ):
            watches.create_task(follow(resource, upsert, delete), name=f"watch {resource.path(namespace)}")


def try_command(zone: "Zone", namespace: str) -> str | None:
    """Return a command that reaches a Service; None where none is known to speak HTTP."""
    for service in zone.services_in(namespace):
        for port in service.ports if service.cluster_ips else ():
            if port.protocol == "tcp" and (port.number in (80, 8080) or port.name.partition("-")[0] == "http"):
                host = f"{service.name}.{namespace}.svc.{zone.known_as}" if zone.known_as else service.name
                return f"curl http://{host}{'' if port.number == 80 else f':{port.number}'}/"
    return None
