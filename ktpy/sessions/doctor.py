"""`ktpy doctor`: the examination, in an event loop of its own."""

import asyncio
from collections.abc import Callable, Collection

from ktpy.daemon.supervision import log_loop_errors
from ktpy.doctor.examination import examine
from ktpy.doctor.finding import Finding
from ktpy.kube.client import Api
from ktpy.kube.kubeconfig import selected
from ktpy.sessions.once import ClusterRef


def look(place: ClusterRef, wanted: Collection[str], image: str, tell: Callable[[Finding], None]) -> list[Finding]:
    """Return what was found, each of which `tell` was told at once. `wanted` are the uses that have to work."""

    async def call() -> list[Finding]:
        log_loop_errors()
        found = []
        where = (place.kubeconfig, place.context, place.namespace)
        async for one in examine(lambda: Api.load(*where), lambda: selected(*where).user, wanted, image):
            tell(one)
            found.append(one)
        return found

    return asyncio.run(call())
