"""`ktpy doctor`: the examination, in an event loop of its own."""

import asyncio
from collections.abc import Callable, Collection

from ktpy.daemon.supervision import log_loop_errors
from ktpy.doctor.examination import Wanted, examine
from ktpy.doctor.finding import Finding
from ktpy.kube.client import Api
from ktpy.kube.kubeconfig import selected
from ktpy.sessions.doctor_pod import try_pod
from ktpy.sessions.options import ConnectOptions


def look(
    options: ConnectOptions, uses: Collection[str], tell: Callable[[Finding], None], *, with_pod: bool = False
) -> list[Finding]:
    """Return what was found, each of which `tell` was told at once. The rights for `uses` have to be there.

    `with_pod` starts a real pod of ktpy's, and removes it.
    """
    where = (options.kubeconfig, options.context, options.namespace)
    pod = (lambda api: try_pod(api, options)) if with_pod else None
    wanted = Wanted(options.image, options.pod_overlay, uses, pod)

    async def call() -> list[Finding]:
        log_loop_errors()
        found = []
        async for one in examine(lambda: Api.load(*where), lambda: selected(*where).user, wanted):
            tell(one)
            found.append(one)
        return found

    return asyncio.run(call())
