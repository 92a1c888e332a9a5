"""The kind of change that `ktpy preview` makes: a new Service that only this session serves.

Its pods are the gateway's agent, without original pods behind it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from functools import partial

from ktpy.cluster.changes import gateway_manifest
from ktpy.cluster.changes.change import ClusterChange, InterceptKind, OnProgress, Remains, own_lease
from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.changes.host_routes import KINDS, HostRoute, host_routes
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.names import MANAGED_BY, OWNER, ROLE, owner_label
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.ports import AppProtocol, ExposeOption, GatewayPort, PortMapping
from ktpy.cluster.sharing import lease
from ktpy.cluster.sharing.own_object import delete_own
from ktpy.cluster.steps import Step
from ktpy.errors import ApiRefused, NameTaken, PortUnknown, RouteTaken, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import labels_of
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.resources import DEPLOYMENTS, SERVICES
from ktpy.wire.route import TCP, UDP, ServicePort


class PreviewEntry:
    """A PreviewEntry has the steps by which one session makes its preview."""

    def __init__(
        self, api: Api, plan: InterceptPlan, session: SessionIdentity, pods: GatewayPods, on_progress: OnProgress
    ) -> None:
        self._api, self._plan, self._session = api, plan, session
        self._pods, self._on_progress = pods, on_progress
        self._name, self._namespace = plan.interceptee.name, plan.interceptee.namespace
        self._ports = _gateway_ports(plan)
        self._http_port = next((port.port for port in self._ports if port.protocol == TCP), 0)
        self.routes = host_routes(api, plan.options)
        self.checks = tuple(Step(f"choose the {one.server}", one.choose) for one in self.routes)
        self.preparation = (
            Step("create the service", self._create_service),
            Step("create the gateway", self._create_gateway),
            *(Step(f"create the {one.name}", partial(self._create_route, one)) for one in self.routes),
            Step("wait for a gateway pod", self._wait_for_pod),
            *(Step(f"wait for the {one.server}", partial(self._settle, one)) for one in self.routes),
        )

    async def tell_notices(self, on_notice: Callable[[str], None]) -> None:
        """Tell what the user should know of the routes, as a Guard; it never returns."""
        for route in self.routes:
            for notice in route.notices:
                on_notice(notice)
        await asyncio.Event().wait()

    async def _create_service(self) -> None:
        """The Service comes first: its name can be had once, so of two who want it at the same instant one is told."""
        manifest = gateway_manifest.preview_service(self._plan, self._session, self._ports)
        try:
            await self._api.request("POST", SERVICES.path(self._namespace), body=manifest)
        except Conflict as exc:
            raise await self._name_taken() from exc

    async def _create_gateway(self) -> None:
        manifest = gateway_manifest.gateway_deployment(self._plan, self._session, self._ports, None, role="preview")
        await self._api.request("POST", DEPLOYMENTS.path(self._namespace), body=manifest)

    async def _create_route(self, route: HostRoute) -> None:
        metadata = gateway_manifest.preview_metadata(self._plan.interceptee, self._session)
        manifest = route.document(metadata, self._http_port)
        try:
            await self._api.request("POST", route.resource.path(self._namespace), body=manifest)
        except Conflict as exc:
            raise NameTaken(
                f"An {route.name} {self._name} exists in namespace {self._namespace} already.",
                hint="If a killed ktpy left it, ktpy clean removes it; else choose another name for the preview.",
            ) from exc

    async def _settle(self, route: HostRoute) -> bool:
        return await route.settle(route.resource.path(self._namespace, self._name))

    async def _wait_for_pod(self) -> None:
        await self._pods.until_ready(self._session.id, self._plan.options.pod_timeout_s, self._on_progress)

    async def _name_taken(self) -> NameTaken:
        where = f"in namespace {self._namespace}"
        with suppress(NotFound):
            labels = labels_of(await self._api.request("GET", self._plan.interceptee.service_path))
            is_preview = labels.get(MANAGED_BY) == "ktpy" and labels.get(ROLE) in PREVIEW.roles
            if is_preview and labels.get(OWNER) == owner_label(self._session.owner):
                return NameTaken(
                    f"You have a preview {self._name} {where} already.",
                    hint=f"ktpy leave {self._name} ends it; if its ktpy was killed, ktpy clean removes it.",
                )
            if is_preview:
                return NameTaken(
                    f"{labels.get(OWNER)} has a preview {self._name} {where} already.",
                    hint="If that session is dead, ktpy clean removes it; else choose another name.",
                )
        return NameTaken(
            f"A service {self._name} exists {where} already.",
            hint=f"Choose another name, or intercept it: ktpy exchange {self._name}",
        )


async def prepare(api: Api, options: InterceptOptions) -> InterceptPlan:
    """Look at the ports, and ask the API server if it would take the Service.

    Raises TargetUnsuitable, PortUnknown, RouteTaken, and what keeps the user from creating it.
    """
    ports = preview_ports(options.expose, is_http=options.protocol in (None, AppProtocol.HTTP))
    plan = InterceptPlan(options, Interceptee(api.namespace, options.target), ports)
    if options.hosts and all(one.protocol == UDP for one in plan.ports):
        raise TargetUnsuitable(
            "What comes from outside for a host is HTTP, and only UDP ports are exposed; nothing was changed."
        )
    manifest = gateway_manifest.preview_service(plan, SessionIdentity("dry-run", "nobody", ""), _gateway_ports(plan))
    try:
        await api.request("POST", SERVICES.path(api.namespace), query={"dryRun": "All"}, body=manifest)
    except Conflict:
        pass  # whose the name is, is told when it is needed
    except ApiRefused as refused:
        if "metadata.name" in refused.message:
            raise TargetUnsuitable(
                f"{options.target!r} cannot be the name of a service: {refused.message}"
            ) from refused
        if "dry run" not in refused.message:  # a webhook that cannot judge has not refused
            raise
    return plan


def change(api: Api, plan: InterceptPlan, session: SessionIdentity, on_progress: OnProgress) -> ClusterChange:
    """Make the change for a preview. Nobody else has a part in its objects."""
    pods = GatewayPods(api, plan.interceptee, session, is_shared=False)
    entry = PreviewEntry(api, plan, session, pods, on_progress)
    return ClusterChange(
        own_lease(api, plan, session),
        pods,
        checks=entry.checks,
        preparation=entry.preparation,
        exit=removal(api, plan.interceptee, {session.id}),
        guard=entry.tell_notices,
    )


def removal(api: Api, interceptee: Interceptee, sessions: Collection[str]) -> tuple[Step, ...]:
    """Return the steps that remove what these sessions have made of a preview, and nothing of anybody else's."""
    return tuple(step for session in sorted(sessions) for step in _removal_of_one(api, interceptee, session))


def _removal_of_one(api: Api, interceptee: Interceptee, session: str) -> tuple[Step, ...]:
    def delete_route(route: type[HostRoute]) -> Awaitable[bool]:
        path = route.resource.path(interceptee.namespace, interceptee.name)
        return delete_own(api, path, session, is_optional=True)

    return (
        *(Step(f"delete the {one.name}", partial(delete_route, one)) for one in KINDS),
        Step("delete the service", partial(delete_own, api, interceptee.service_path, session)),
        Step("delete the gateway", partial(delete_own, api, interceptee.gateway_path, session)),
        Step("delete the lease", partial(lease.release, api, interceptee.namespace, session)),
    )


def preview_ports(wanted: Sequence[ExposeOption], *, is_http: bool = True) -> tuple[PortMapping, ...]:
    """Return the ports of a preview: REMOTE is the new Service's port; without it, the local port's number is."""
    found: dict[ServicePort, PortMapping] = {}
    for expose in wanted:
        if expose.remote is not None and not expose.remote.isdecimal():
            raise PortUnknown(f"A new service has no port named {expose.remote} yet.", hint="Give the port's number.")
        port = ServicePort(int(expose.remote or expose.local), expose.protocol or TCP)
        if port in found:
            raise RouteTaken(f"Port {port} is exposed twice in this command.")
        spoken = is_http and port.protocol == TCP
        found[port] = PortMapping(expose.local, port.number, expose.host, port.protocol, spoken)
    return tuple(found.values())


def _gateway_ports(plan: InterceptPlan) -> tuple[GatewayPort, ...]:
    spoken = plan.options.protocol or AppProtocol.HTTP

    def gateway_port(number: int, protocol: str) -> GatewayPort:
        name = spoken.value if protocol == TCP else protocol.lower()
        is_http = protocol == TCP and spoken is AppProtocol.HTTP
        return GatewayPort(number, f"{name}-{number}", number, protocol, is_http)

    return tuple(gateway_port(one.remote, one.protocol) for one in plan.ports)


PREVIEW = InterceptKind(
    roles=frozenset({"preview"}),
    remains=(
        Remains("service", SERVICES),
        Remains("deployment", DEPLOYMENTS),
        *(Remains(one.name, one.resource, is_optional=True) for one in KINDS),
    ),
    removal=removal,
    owns_service=True,
    prepare=prepare,
    change=change,
    undoing="removing preview {target}",
    farewell="Left; preview {target} is gone.",
    when_local_down=lambda _: "get no answer, or a 503 where it is HTTP",
)
