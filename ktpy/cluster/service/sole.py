"""Where one session has all requests of a Service: nobody else's match, copy or pod has a part in them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing.lease import leases
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, spec_of
from ktpy.kube.resources import SERVICES
from ktpy.kube.watch import watch_object


async def sole_addresses(
    api: Api, interceptee: Interceptee, session: Callable[[], str | None], *, owns_service: bool
) -> AsyncGenerator[frozenset[str], None]:
    """Yield the Service's addresses in the cluster after each of its changes; none while others have a part in it.

    `session` tells the session's id at that moment. A Service that it has made itself is its own. Raises what
    `watch_object` and `leases` raise.
    """
    async with aclosing(watch_object(api, SERVICES.path(interceptee.namespace), interceptee.name)) as states:
        async for service in states:
            is_sole = service is not None and (owns_service or await _is_sole(api, interceptee, service, session()))
            yield frozenset(_addresses(service)) if service is not None and is_sole else frozenset()


async def _is_sole(api: Api, interceptee: Interceptee, service: Json, session: str | None) -> bool:
    """Return whether all others that the Service names only keep its gateway."""
    state = service_state.read(service)
    if state is None or session not in state.sessions or not service_state.is_redirected(service):
        return False
    others = {*state.sessions} - {session}
    known = await leases(api, interceptee.namespace, interceptee.name) if others else {}
    return all(one in known and known[one].is_kept for one in others)


def _addresses(service: Json) -> list[str]:
    spec = spec_of(service)
    return [one for one in spec.get("clusterIPs") or [spec.get("clusterIP")] if one and one != "None"]
