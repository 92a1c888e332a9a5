"""Takes sessions out of an intercepted Service: a session itself when it leaves, dead ones in `ktpy clean`.

The Service is given back first, in one update. Only when its endpoints have moved does the gateway go (which serves on
for a few seconds, until every node knows), and last what it relayed to. Each step reads what there is instead of
trusting memory, so it may be repeated, and may follow an entry that stopped anywhere. A step that fails ends the row:
what is left keeps serving, its Lease expires, and `ktpy clean` finishes.
"""

from collections.abc import Collection, Mapping

from ktpy.aio.poll import poll_until
from ktpy.cluster.changes.gateway_pods import has_pods, is_served_by_gateway, withdraw_keys
from ktpy.cluster.names import SESSION, holders
from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.shared_object import is_ours
from ktpy.cluster.steps import Step
from ktpy.errors import RestoreIncomplete
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, labels_of
from ktpy.kube.refusals import NotFound
from ktpy.kube.writes import patch_object

ENDPOINTS_TIMEOUT_S = 15.0
PODS_TIMEOUT_S = 10.0
"""How long the gateway's pods may need the origin Service for new connections, once they have been told to stop."""


class GatewayExit:
    """A GatewayExit has the steps by which the sessions `gone`, and any that prove to be dead, leave one Service."""

    def __init__(
        self,
        api: Api,
        interceptee: Interceptee,
        gone: Collection[str],
        *,
        lost_selector: Mapping[str, str] | None = None,
    ) -> None:
        """`lost_selector` is what the Service selected before, for when neither it nor the origin Service tells."""
        self._api, self._interceptee, self._target = api, interceptee, interceptee.name
        self.gone = frozenset(gone)
        self._gateway, self._origin = interceptee.gateway(api), interceptee.origin(api)
        self._lost_selector = lost_selector
        self._deleted: Json | None = None
        self.steps_for_known = (
            Step("restore the service", self.restore),
            Step("wait for the endpoints", self.wait_for_endpoints),
            Step("withdraw the key", self.withdraw_keys),
            Step("delete the gateway", self.delete_gateway),
            Step("wait for its pods", self.wait_for_pods),
            Step("delete the origin service", self.delete_origin),
            Step("delete the lease", self.delete_leases),
        )
        self.steps = (Step("find dead sessions", self.find_dead), *self.steps_for_known)

    async def find_dead(self) -> None:
        """Let others who use this gateway and are dead leave along."""
        self.gone |= await dead_sessions(self._api, self._interceptee, known_gone=self.gone)

    async def restore(self) -> bool:
        """Take the sessions out of the Service's annotation; with the last one it gets its selector back.

        Returns whether it has it back.
        """
        try:
            service = await self._api.request("GET", self._interceptee.service_path)
            lost: Mapping[str, str] | None = None
            if service_state.is_redirected(service) and service_state.selector_for(service) is None:
                lost = await self._origin_selector() or self._lost_selector

            def leave(found: Json) -> Json | None:
                return service_state.leaving(found, self.gone, lost_selector=lost)

            service, _ = await patch_object(self._api, self._interceptee.service_path, leave)
            if not service_state.is_redirected(service):
                service, _ = await patch_object(self._api, self._interceptee.service_path, leave)
        except NotFound:  # deleted meanwhile
            return True
        if service_state.is_redirected(service) and service_state.read(service) is None:
            raise RestoreIncomplete(
                f"Service {self._target} selects its gateway and nothing tells what it selected before; "
                "the gateway stays.",
                hint=f"Give it its selector: kubectl -n {self._interceptee.namespace} edit service {self._target}",
            )
        return not service_state.is_redirected(service)

    async def wait_for_endpoints(self) -> None:
        """Return once the original pods are the Service's endpoints, or others intercept it."""
        if not await poll_until(self._has_moved, ENDPOINTS_TIMEOUT_S):
            raise RestoreIncomplete(
                f"Service {self._target} selects its own pods again, but its endpoints have not followed within "
                f"{ENDPOINTS_TIMEOUT_S:g} s; its gateway keeps serving.",
                hint="Run `ktpy clean` later.",
            )

    async def withdraw_keys(self) -> None:
        await withdraw_keys(self._api, self._interceptee, self.gone)

    async def delete_gateway(self) -> bool:
        """Stop using the Deployment; it goes with its last user. Returns whether it went."""
        self._deleted = await self._gateway.release(self.gone, self._is_unused)
        return self._deleted is not None

    async def wait_for_pods(self) -> bool:
        """The gateway drains. Requests that take longer have their connections, which outlive the origin Service."""
        if self._deleted is None:
            return False
        generation = labels_of(self._deleted).get(SESSION, "")

        async def have_gone() -> bool:
            return not await has_pods(self._api, self._interceptee, generation)

        await poll_until(have_gone, PODS_TIMEOUT_S)
        return True

    async def delete_origin(self) -> bool:
        """Stop using the origin Service; it goes with its last user. Returns whether it went."""
        return await self._origin.release(self.gone, self._is_unused) is not None

    async def delete_leases(self) -> None:
        for session in sorted(self.gone):
            await lease.release(self._api, self._interceptee.namespace, session)

    async def _is_unused(self) -> bool:
        """Whether no other session has a part in the Service: who keeps a gateway does not hold one that is anew."""
        try:
            service = await self._api.request("GET", self._interceptee.service_path)
        except NotFound:
            return True
        state = service_state.read(service)
        return state is None or not service_state.is_redirected(service) or not set(state.sessions) - self.gone

    async def _has_moved(self) -> bool:
        try:
            if service_state.is_redirected(await self._api.request("GET", self._interceptee.service_path)):
                return True
        except NotFound:
            return True
        has_gateway, has_others = await is_served_by_gateway(self._api, self._interceptee)
        if has_gateway:
            return False
        origin = Interceptee(self._interceptee.namespace, self._interceptee.origin_name)
        _, has_origin = await is_served_by_gateway(self._api, origin)
        return has_others or not has_origin

    async def _origin_selector(self) -> dict[str, str] | None:
        try:
            origin = await self._api.request("GET", self._origin.path)
        except NotFound:
            return None
        selector: dict[str, str] | None = origin["spec"].get("selector") if is_ours(origin, self._target) else None
        return selector


async def dead_sessions(api: Api, interceptee: Interceptee, known_gone: Collection[str] = ()) -> frozenset[str]:
    """Return the sessions that use this Service's gateway and are not alive; their Leases are deleted by then."""
    named: set[str] = set()
    for path in (interceptee.service_path, interceptee.gateway_path, interceptee.origin(api).path):
        try:
            found = await api.request("GET", path)
        except NotFound:
            continue
        named |= holders(annotations_of(found)).keys()
        if (state := service_state.read(found)) is not None:
            named |= set(state.sessions)
    # Only now: a session has its Lease before it appears anywhere else, and keeps it until it has left everywhere.
    leases = await lease.leases(api, interceptee.namespace, interceptee.name)
    expired = [lease for lease in leases.values() if lease.is_expired() and lease.session not in known_gone]
    return frozenset(named - leases.keys()) | await lease.expire(api, expired)
