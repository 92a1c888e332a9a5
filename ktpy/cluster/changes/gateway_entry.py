"""The named steps by which a session takes part in the gateway before a Service.

The Service changes only when everything that its traffic needs is there. Each step reads what there is, and tries again
where others change the same object at the same time.
"""

import asyncio
from collections.abc import Collection, Mapping

from ktpy.aio.poll import poll_until
from ktpy.aio.task_group import task_group
from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.change import OnProgress
from ktpy.cluster.changes.gateway_exit import GatewayExit, dead_sessions
from ktpy.cluster.changes.gateway_pods import GatewayPods, is_served_by_gateway
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.names import SESSION, holders
from ktpy.cluster.service import service_state, targets
from ktpy.cluster.service.ports import AppProtocol, GatewayPort, gateway_ports
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.sharing import lease
from ktpy.cluster.steps import Step
from ktpy.errors import GatewayMismatch, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, labels_of, status_of, version_of
from ktpy.kube.writes import patch_object
from ktpy.wire.gateway import GatewaySpec
from ktpy.wire.route import TCP, ServicePort
from ktpy.wire.version import version_difference

FOLLOW_TIMEOUT_S = 5.0
"""How long the endpoints may take to follow the selector before the entry goes on all the same."""
UNPROXIED_S = 0.2
"""How long kube-proxy knows no origin Service. Only on a slow node a gateway's pod takes more than a second longer."""
RACES = 20
"""How many gateways that do not fit ktpy clears away in a row before it gives up."""


class GatewayEntry:
    """A GatewayEntry is one session's way into the gateway. Its guard repeats some steps, when others undo them."""

    def __init__(
        self, api: Api, plan: InterceptPlan, session: SessionIdentity, pods: GatewayPods, on_progress: OnProgress
    ) -> None:
        self._api, self._plan, self._session = api, plan, session
        self._pods, self._on_progress = pods, on_progress
        self._interceptee, self._target = plan.interceptee, plan.interceptee.name
        self._gateway, self._origin = plan.interceptee.gateway(api), plan.interceptee.origin(api)
        self._service: Json = {}
        self._origin_now: Json = {}
        self._gateway_now: Json = {}
        self._gateway_seen: Json | None = None
        """The gateway's Deployment as `hold_origin` has found it, for the first who wants to hold it."""
        self._ports: tuple[GatewayPort, ...] = ()
        self._spec: GatewaySpec | None = None
        self._generation = ""
        self._pod_labels: dict[str, str] = {}
        self.advice: str | None = None
        """How a gateway that is kept and runs another image is made anew."""
        self.preparation = (
            Step("create the origin service", self.hold_origin),
            Step("create the gateway", self.hold_gateway),
            Step("wait for a gateway pod", self._wait_for_pod),
        )
        self.redirection = (
            Step("redirect the service", self.redirect),
            Step("wait for the endpoints", self._wait_for_endpoints),
        )

    async def hold_origin(self, address: str | None = None) -> bool:
        """Create the origin Service, with this cluster address if one is given, or use the one that is there.

        Returns whether it was created.
        """
        async with task_group() as tasks:
            service = tasks.create_task(self._fresh_service(), name="read the service")
            origin = tasks.create_task(self._origin.look(), name="read the origin service")
            gateway = tasks.create_task(self._gateway.look(), name="read the gateway")
        self._service, self._gateway_seen = service.result(), gateway.result()
        selector = self._original_selector(self._service)
        self._ports = self._ports_of(self._service)
        is_in_use = service_state.is_redirected(self._service)
        manifest = gateway_manifest.origin_service(self._service, selector, self._session, is_proxied=is_in_use)
        if address is not None:
            manifest["spec"]["clusterIP"] = address
        self._origin_now = await self._origin.hold(manifest, self._session.id, self._session.owner, origin.result())
        await self._align_origin(selector)
        return labels_of(self._origin_now)[SESSION] == self._session.id

    @property
    def origin_address(self) -> str:
        """The cluster address of the origin Service. The gateway's pods know it."""
        address: str = self._origin_now["spec"]["clusterIP"]
        return address

    async def _advice_on(self, deployment: Json) -> str | None:
        image, wanted = gateway_manifest.image_of(deployment), self._plan.options.image
        if image == wanted or not await self._is_kept():
            return None
        return (
            f"The gateway of {self._target} is kept and runs {image}, this ktpy has {wanted}: once nobody intercepts, "
            f"`ktpy gateway release {self._target}`, then `keep`, makes it anew."
        )

    async def _is_kept(self, by: Collection[str] | None = None) -> bool:
        """Return whether somebody keeps the gateway, of these sessions where some are given."""
        sharing = await lease.leases(self._api, self._interceptee.namespace, self._target)
        return any(one.is_kept and (by is None or one.session in by) for one in sharing.values())

    @property
    def version_difference(self) -> str | None:
        """How the version of the ktpy that made the gateway differs from this one's, in words."""
        return version_difference(self._spec.version) if self._spec is not None else None

    async def hold_gateway(self) -> bool:
        """Create the gateway's Deployment, or use the one that is there if it fits; raise GatewayMismatch if not.

        Returns whether it was created.
        """
        redirecting = service_state.redirecting_labels(self._target, self._original_selector(self._service))
        manifest = gateway_manifest.gateway_deployment(
            self._plan, self._session, self._ports, self.origin_address, redirecting
        )
        for _ in range(RACES):
            seen, self._gateway_seen = self._gateway_seen, None
            deployment = await self._gateway.hold(manifest, self._session.id, self._session.owner, seen)
            self._spec = gateway_manifest.spec_of(deployment)
            if (problem := self._mismatch(self._spec)) is None:
                self._gateway_now, self._generation = deployment, labels_of(deployment)[SESSION]
                self.advice = await self._advice_on(deployment)
                self._pod_labels = labels_of(deployment["spec"]["template"])
                return self._generation == self._session.id
            await self._clear_stale(deployment, problem)
        raise GatewayMismatch(f"The gateway of {self._target} is replaced again and again by others; ktpy gave up.")

    async def _wait_for_pod(self) -> None:
        is_in_use = service_state.is_redirected(self._service)
        if is_in_use and status_of(self._gateway_now).get("readyReplicas"):
            return  # the Service leads there already, and a route into a pod is awaited before it changes
        timeout_s = self._plan.options.pod_timeout_s
        async with task_group() as tasks:
            tasks.create_task(self._have_origin_proxied_in_time(), name="have the origin service proxied")
            await self._pods.until_ready(self._generation, timeout_s, self._on_progress, is_in_use=is_in_use)

    async def _have_origin_proxied_in_time(self) -> None:
        """Let the origin Service's address lead to the original pods, after UNPROXIED_S.

        kube-proxy takes up a change at once, and those of the second after it together (minSyncPeriod). A Service that
        is new is two changes, since its endpoints come after it, and the redirect is a third: where a pod starts fast,
        that second has the last two. HAProxy tries again meanwhile where one node is later than another.
        """
        await asyncio.sleep(UNPROXIED_S)
        await self._have_origin_proxied()

    async def _have_origin_proxied(self) -> None:
        self._origin_now, _ = await patch_object(
            self._api, self._origin.path, gateway_manifest.proxied, self._origin_now
        )

    async def redirect(self) -> bool:
        """Let the Service select the gateway. It is read anew for that: others may have changed it since.

        Returns whether it did not before.
        """
        while True:
            service = await self._fresh_service()
            if self._ports_of(service) != self._ports:
                raise TargetUnsuitable(f"The ports of service {self._target} have changed just now.", hint="Try again.")
            selector = self._original_selector(service)
            await self._align_origin(selector)
            await self._have_origin_proxied()

            def entering(found: Json, selector: Mapping[str, str] = selector) -> Json | None:
                is_changed = service_state.selector_for(found) != selector
                return None if is_changed else service_state.entering(found, self._session.id, self._pod_labels)

            path = self._interceptee.service_path
            entered, is_done = await patch_object(self._api, path, entering, service)
            if is_done:
                await patch_object(self._api, path, service_state.handing_over, entered)
                return not service_state.is_redirected(service)

    async def _wait_for_endpoints(self) -> None:
        """Wait, so that the next request goes through the gateway. That is not vital: a time-out is no error."""

        async def have_followed() -> bool:
            return await is_served_by_gateway(self._api, self._interceptee) == (True, False)

        await poll_until(have_followed, FOLLOW_TIMEOUT_S)

    async def _fresh_service(self) -> Json:
        service = await targets.find(self._api, Reference("service", self._target))
        if (problem := targets.unsuitable(service)) is not None:
            raise problem
        return service

    def _original_selector(self, service: Json) -> dict[str, str]:
        if not (selector := service_state.selector_for(service)):
            raise TargetUnsuitable(
                f"Service {self._target} selects a gateway of ktpy, but does not say what it selected before.",
                hint=f"Repair it first: ktpy recover {self._target}",
            )
        return selector

    def _ports_of(self, service: Json) -> tuple[GatewayPort, ...]:
        protocol = self._plan.options.protocol
        spoken = {one.remote: protocol for one in self._plan.ports} if protocol is not None else {}
        return gateway_ports(service, spoken)

    async def _align_origin(self, selector: Mapping[str, str]) -> None:
        """Let an origin Service that was there already lead where the Service leads now."""
        ports = gateway_manifest.origin_ports(self._service)

        def align(origin: Json) -> Json | None:
            spec = origin["spec"]
            if spec.get("selector") == selector and gateway_manifest.origin_ports(origin) == ports:
                return None
            changed = dict.fromkeys((spec.get("selector") or {}).keys()) | dict(selector)
            return {"metadata": version_of(origin), "spec": {"selector": changed, "ports": ports}}

        if align(self._origin_now) is not None:
            self._origin_now, _ = await patch_object(self._api, self._origin.path, align)

    def _mismatch(self, spec: GatewaySpec | None) -> str | None:
        """Return why this gateway, which others may have made, cannot serve this session; None when it can."""
        if spec is None:
            return "it is of another version of ktpy"
        if spec.origin != self.origin_address:
            return "it leads to an origin service that is gone"
        theirs = {ServicePort(port.port, port.protocol): port for port in spec.ports}
        for port in self._ports:
            wanted_port = ServicePort(port.port, port.protocol)
            if wanted_port not in theirs or theirs[wanted_port].bind != port.bind:
                return f"it does not relay port {wanted_port} as the service has it now"
        options = self._plan.options
        wanted = AppProtocol.HTTP if options.match is not None else options.protocol
        for exposed in (one for one in self._plan.ports if one.protocol == TCP):
            is_http = theirs[exposed.service_port].http
            if wanted is not None and is_http is not (wanted is AppProtocol.HTTP):
                return f"it relays port {exposed.remote} as {'HTTP' if is_http else 'plain TCP'}"
        return None

    async def _clear_stale(self, deployment: Json, problem: str) -> None:
        """Remove a gateway that does not fit and that nobody alive uses. Raises GatewayMismatch when somebody does."""
        dead = await dead_sessions(self._api, self._interceptee)
        users = holders(annotations_of(deployment))
        if others := users.keys() - dead - {self._session.id}:
            names = ", ".join(sorted({users[one] for one in others}))
            raise GatewayMismatch(
                f"The gateway of {self._target} is in use by {names}, and {problem}.",
                hint=f"`ktpy gateway release {self._target}` ends that it is kept; then try again, or keep it anew."
                if await self._is_kept(others)
                else "Try again when they have left.",
            )
        leaving = GatewayExit(self._api, self._interceptee, dead)
        await leaving.restore()
        await leaving.wait_for_endpoints()
        await self._gateway.release({self._session.id, *dead})
