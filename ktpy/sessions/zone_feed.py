"""Keeps the DNS zone current: watch events of Services and EndpointSlices, as far as the user may see them."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ktpy.errors import Forbidden
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import ENDPOINT_SLICES, SERVICES
from ktpy.kube.watch import Delete, Synced, Upsert, watch

if TYPE_CHECKING:
    from ktpy.dns.zone import Zone

logger = logging.getLogger(__name__)


class ZoneFeed:
    """A ZoneFeed fills its zone. Where the whole cluster may not be watched, the session's namespace is."""

    def __init__(self, api: Api, zone: "Zone") -> None:
        self._api = api
        self._zone = zone
        self._unsynced = {"services", "endpointslices"}

    async def run(self) -> None:
        """Watch until cancelled. Names that may not be watched are left to the cluster's own DNS.

        Raises Forbidden when not even those of the session's namespace may be.
        """
        try:
            await self._watch(None)
        except* Forbidden:
            logger.info("services of the whole cluster are not ours to see: watching namespace %s", self._api.namespace)
            self._zone.set_scope({self._api.namespace})
            await self._watch(self._api.namespace)

    async def _watch(self, namespace: str | None) -> None:
        async with asyncio.TaskGroup() as watches:
            zone = self._zone
            for resource, upsert, delete in (
                (SERVICES, zone.upsert_service, zone.delete_service),
                (ENDPOINT_SLICES, zone.upsert_endpoint_slice, zone.delete_endpoint_slice),
            ):
                path = resource.path(namespace)
                watches.create_task(self._feed(path, upsert, delete), name=f"watch {path}")

    async def _feed(self, path: str, upsert: Callable[[Json], None], delete: Callable[[str, str], None]) -> None:
        async for event in watch(self._api, path, is_patient=True):  # a lost link is the tunnel's to tell
            match event:
                case Upsert(obj):
                    upsert(obj)
                case Delete(obj):
                    delete(obj["metadata"]["namespace"], obj["metadata"]["name"])
                case Synced():
                    self._unsynced.discard(path.rpartition("/")[2])
                    if not self._unsynced:
                        self._zone.synced = True
