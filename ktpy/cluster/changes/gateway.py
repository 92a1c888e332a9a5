"""One session's part in the gateway before a Service, from its first object in the cluster to the last.

gateway = Gateway(api, service, exposed, ...)
undo.push_async_callback(gateway.leave)              # before enter: undoes it from wherever it stopped
tasks.create_task(gateway.lease.keep(...))       # renews the Lease
tasks.create_task(...)                               # async for pods in gateway.pods.follow(): dial each
await gateway.enter(on_step)                         # the Service's traffic goes through the gateway
tasks.create_task(gateway.guard(on_notice))          # tells, and mends, what others do to the objects meanwhile
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from ktpy.aio.poll import poll_until
from ktpy.aio.task_group import task_group
from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.gateway_pods import GatewayPods, is_served_by_gateway
from ktpy.cluster.changes.leaving import Leaving, dead_sessions, shared_objects
from ktpy.cluster.changes.plan import Plan
from ktpy.cluster.names import SESSION, holders
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service import service_state, targets
from ktpy.cluster.service.ports import AppProtocol, GatewayPort, gateway_ports
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.cluster.steps import Step, nothing, run_steps
from ktpy.errors import GatewayMismatch, SessionLost, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.resources import SERVICES
from ktpy.kube.watch import watch_object
from ktpy.kube.writes import patch_object

FOLLOW_TIMEOUT_S = 5.0
"""How long the endpoints may take to follow the selector before `enter` returns all the same."""
RACES = 20
INSISTENCE_S = 60.0
"""Who puts the selector back twice within this time means it, or is a controller that would do it for ever."""


class Gateway:
    """A session that intercepts one Service."""

    def __init__(
        self,
        api: Api,
        target: str,
        plan: Plan,
        on_progress: Callable[[PodProgress], None] = lambda _: None,
        *,
        is_mesh: bool = False,
    ) -> None:
        self._api, self._target, self._plan = api, target, plan
        self._on_progress, self._is_mesh = on_progress, is_mesh
        self._service_path = SERVICES.path(api.namespace, target)
        self._gateway, self._origin = shared_objects(api, api.namespace, target)
        self._service: Json = {}
        self._origin_now: Json = {}
        self._ports: tuple[GatewayPort, ...] = ()
        self._generation = ""
        self._pod_labels: dict[str, str] = {}
        self._may_exist = False
        self._put_back_s, self._has_given_in = float("-inf"), False
        self.session = plan.session
        self.lease = OwnLease(api, session=plan.session, owner=plan.owner, target=target, description=plan.description)
        self.pods = GatewayPods(api, target, session=plan.session, public_key=plan.public_key)
        self._preparation = (
            Step("claim a lease", self._claim),
            Step("create the origin service", self._hold_origin),
            Step("create the gateway", self._hold_gateway),
            Step("wait for a gateway pod", self._wait_for_pod),
        )
        self._redirection = (
            Step("redirect the service", self._redirect),
            Step("wait for the endpoints", self._wait_for_endpoints),
        )
        self.entry = self._preparation + self._redirection
        self.exit = Leaving(api, api.namespace, target, {plan.session}).steps

    async def enter(
        self, on_step: Callable[[str], None] = lambda _: None, join: Callable[[], Awaitable[None]] = nothing
    ) -> None:
        """Take part. Raises what `targets` and `ports` refuse, and what keeps a pod from running; then `leave`.

        `join` is awaited before the Service's traffic goes to the gateway: what it raises changes nothing for anybody.
        """
        await run_steps(self._preparation, on_step)
        await join()
        await run_steps(self._redirection, on_step)

    async def leave(self, on_step: Callable[[str], None] = lambda _: None) -> None:
        """Undo all of `enter`, from wherever it stopped. Raises RestoreIncomplete, and what the API server refuses."""
        if self._may_exist:
            await run_steps(self.exit, on_step)

    async def guard(self, on_notice: Callable[[str], None]) -> None:
        """Follow what others do to the Service and the gateway, until cancelled.

        Mends what would leave the Service without endpoints. Raises TargetAbsent when the Service is deleted, and
        SessionLost when somebody has taken this session out.
        """
        async with task_group() as tasks:
            tasks.create_task(self._guard_service(on_notice), name="watch the service")
            tasks.create_task(self._guard_gateway(on_notice), name="watch the gateway")
            tasks.create_task(self._guard_origin(on_notice), name="watch the origin service")

    # --- entry

    async def _claim(self) -> None:
        self._may_exist = True
        await self.lease.claim()

    async def _hold_origin(self, address: str | None = None) -> None:
        self._service = await self._fresh_service()
        selector = self._original_selector(self._service)
        self._ports = self._ports_of(self._service)
        manifest = gateway_manifest.origin_service(
            self._service, selector, owner=self._plan.owner, session=self.session
        )
        if address is not None:
            manifest["spec"]["clusterIP"] = address
        self._origin_now = await self._origin.hold(manifest, self.session, self._plan.owner)
        await self._align_origin(selector)

    async def _hold_gateway(self) -> None:
        manifest = self._manifest(self._original_selector(self._service))
        for _ in range(RACES):
            deployment = await self._gateway.hold(manifest, self.session, self._plan.owner)
            if (problem := self._mismatch(deployment)) is None:
                self._generation = deployment["metadata"]["labels"][SESSION]
                self._pod_labels = deployment["spec"]["template"]["metadata"]["labels"]
                return
            await self._clear_stale(deployment, problem)
        raise GatewayMismatch(f"The gateway of {self._target} is replaced again and again by others; ktpy gave up.")

    async def _wait_for_pod(self) -> None:
        is_in_use = service_state.is_redirected(await self._fresh_service())
        timeout_s = self._plan.pod_timeout_s
        await self.pods.until_ready(
            self._generation, self._gateway.name, timeout_s, self._on_progress, is_in_use=is_in_use
        )

    async def _redirect(self) -> None:
        """Let the Service select the gateway, as it is at that moment: others may have changed it since."""
        while True:
            service = await self._fresh_service()
            if self._ports_of(service) != self._ports:
                raise TargetUnsuitable(f"The ports of service {self._target} have changed just now.", hint="Try again.")
            selector = self._original_selector(service)
            await self._align_origin(selector)

            def entering(found: Json, selector: Mapping[str, str] = selector) -> Json | None:
                is_changed = service_state.selector_for(found) != selector
                return None if is_changed else service_state.entering(found, self.session, self._pod_labels)

            _, is_done = await patch_object(self._api, self._service_path, entering)
            if is_done:
                await patch_object(self._api, self._service_path, service_state.handing_over)
                return

    async def _wait_for_endpoints(self) -> None:
        """So that the first request after this goes through the gateway; not vital, hence without an error."""

        async def have_followed() -> bool:
            return await is_served_by_gateway(self._api, self._api.namespace, self._target) == (True, False)

        await poll_until(have_followed, FOLLOW_TIMEOUT_S)

    def _manifest(self, selector: Mapping[str, str]) -> Json:
        return gateway_manifest.gateway_deployment(
            target=self._target,
            namespace=self._api.namespace,
            owner=self._plan.owner,
            session=self.session,
            image=self._plan.image,
            ports=self._ports,
            origin_host=self._origin_now["spec"]["clusterIP"],
            replicas=self._plan.replicas,
            pod_labels={**service_state.redirecting_labels(self._target, selector), **self._plan.pod_labels},
        )

    async def _fresh_service(self) -> Json:
        service = await targets.find(self._api, targets.Reference("service", self._target))
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
        protocol = self._plan.protocol
        spoken = {one.remote: protocol for one in self._plan.exposed} if protocol is not None else {}
        return gateway_ports(service, spoken)

    async def _align_origin(self, selector: Mapping[str, str]) -> None:
        """An origin Service that was there already leads where the Service leads now."""
        ports = gateway_manifest.origin_ports(self._service)

        def align(origin: Json) -> Json | None:
            spec = origin["spec"]
            if spec.get("selector") == selector and gateway_manifest.origin_ports(origin) == ports:
                return None
            changed = dict.fromkeys((spec.get("selector") or {}).keys()) | dict(selector)
            metadata = {key: origin["metadata"][key] for key in ("uid", "resourceVersion")}
            return {"metadata": metadata, "spec": {"selector": changed, "ports": ports}}

        if align(self._origin_now) is not None:
            self._origin_now, _ = await patch_object(self._api, self._origin.path, align)

    def _mismatch(self, deployment: Json) -> str | None:
        """Why this gateway, perhaps another's, cannot serve this session; None when it can."""
        document = gateway_manifest.document_of(deployment) or {}
        if document.get("version") != 1:
            return "it is of another version of ktpy"
        if (document.get("origin") or {}).get("host") != self._origin_now["spec"]["clusterIP"]:
            return "it leads to an origin service that is gone"
        theirs = {port["port"]: port for port in document.get("ports") or [] if port["protocol"] == "TCP"}
        for port in (port for port in self._ports if port.protocol == "TCP"):
            if theirs.get(port.port, {}).get("bind") != port.bind:
                return f"it does not relay port {port.port} as the service has it now"
        for exposed in self._plan.exposed:
            is_http = theirs[exposed.remote]["http"]
            wants_http = True if self._is_mesh else self._plan.protocol and self._plan.protocol is AppProtocol.HTTP
            if wants_http is not None and is_http is not wants_http:
                return f"it relays port {exposed.remote} as {'HTTP' if is_http else 'plain TCP'}"
        return None

    async def _clear_stale(self, deployment: Json, problem: str) -> None:
        """Remove a gateway that does not fit and that nobody alive uses. Raises GatewayMismatch when somebody does."""
        dead = await dead_sessions(self._api, self._api.namespace, self._target)
        users = holders(deployment["metadata"].get("annotations") or {})
        if others := users.keys() - dead - {self.session}:
            names = ", ".join(sorted({users[one] for one in others}))
            raise GatewayMismatch(
                f"The gateway of {self._target} is in use by {names}, and {problem}.",
                hint="Try again when they have left.",
            )
        leaving = Leaving(self._api, self._api.namespace, self._target, dead)
        await leaving.restore()
        await leaving.wait_for_endpoints()
        await self._gateway.release({self.session, *dead})

    # --- guard

    async def _guard_service(self, on_notice: Callable[[str], None]) -> None:
        async with aclosing(watch_object(self._api, SERVICES.path(self._api.namespace), self._target)) as states:
            async for service in states:
                if service is None:
                    raise TargetAbsent(f"Service {self._target} was deleted.")
                await self._judge_service(service, on_notice)

    async def _judge_service(self, service: Json, on_notice: Callable[[str], None]) -> None:
        state = service_state.read(service)
        if state is not None and self.session not in state.sessions:
            raise SessionLost(f"Somebody has taken this session out of service {self._target}.")
        if state is None and not service_state.is_redirected(service):
            raise SessionLost(f"Somebody has given service {self._target} back to its own pods.")
        if service_state.is_redirected(service):
            self._has_given_in = False
            if len(service["spec"]["selector"]) > 1 or state is None:
                on_notice(f"Somebody has changed {self._target} while it is intercepted; ktpy has mended its selector.")
                await self._redirect()
        elif not self._has_given_in:
            before_s, self._put_back_s = self._put_back_s, asyncio.get_running_loop().time()
            self._has_given_in = self._put_back_s - before_s < INSISTENCE_S
            if self._has_given_in:
                on_notice(
                    f"Somebody has put the selector of {self._target} back again: its traffic goes to the original "
                    "pods only, until ktpy is started again."
                )
                return
            on_notice(f"Somebody has applied {self._target} as it was; ktpy redirects it once more.")
            await self._redirect()

    async def _guard_gateway(self, on_notice: Callable[[str], None]) -> None:
        async with aclosing(watch_object(self._api, self._gateway.collection, self._gateway.name)) as states:
            async for deployment in states:
                if deployment is None:
                    on_notice(f"Somebody has deleted the gateway of {self._target}; ktpy makes it anew.")
                    await self._hold_origin()
                    await self._hold_gateway()

    async def _guard_origin(self, on_notice: Callable[[str], None]) -> None:
        async with aclosing(watch_object(self._api, self._origin.collection, self._origin.name)) as states:
            async for origin in states:
                if origin is None:
                    on_notice(f"Somebody has deleted service {self._origin.name}; ktpy makes it anew.")
                    # The gateway's pods know its address: it has to be the same.
                    await self._hold_origin(address=self._origin_now["spec"]["clusterIP"])
