"""`ktpy forward`: ports of the cluster on the laptop's loopback. It is a `connect` whose front is those ports."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ktpy.capture.forward.forwards import Find, Forward, bind, bind_like
from ktpy.capture.spec import LOOPBACK, Front
from ktpy.cluster import rbac
from ktpy.cluster.names import MANAGED_BY, new_session_id
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.cluster.service.pod_addresses import PodAddresses
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.targets import refuse_absent_namespace, service_absent, type_of
from ktpy.cluster.service.workload import find_workload
from ktpy.daemon import supervision
from ktpy.daemon.caller import Caller
from ktpy.daemon.runtime import FORWARD, RuntimeDirectory
from ktpy.errors import LocalPortTaken, PortUnknown, TargetAbsent, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, labels_of, name_of, spec_of
from ktpy.kube.resources import SERVICES
from ktpy.kube.watch import list_all
from ktpy.observe.events import Report
from ktpy.observe.status import ConnectStatus, ForwardStatus
from ktpy.sessions.connect import Connect, Quit
from ktpy.sessions.options import ConnectOptions, ForwardOptions, PortChoice
from ktpy.sessions.routing import Routing
from ktpy.sessions.tunnel import Tunnel

if TYPE_CHECKING:
    from ktpy.dns.lookup import ClusterLookup
    from ktpy.dns.zone import Zone
    from ktpy.wire.session import AgentHello

CARRIED = ("TCP", "UDP")


def run(options: ConnectOptions, of_forward: ForwardOptions, caller: Caller, report: Report) -> int:
    """Forward until told to stop, or until the command has ended; return the exit code. The last event is an Ended."""
    session = Forwarding(options, of_forward, caller, report)
    return supervision.run(session, report, session.limit)


class Forwarding(Connect):
    """A user has any number of them to a cluster. Its ports are bound before anything is made in the cluster."""

    name = FORWARD
    ended_by = "ktpy leave"

    def __init__(self, options: ConnectOptions, of_forward: ForwardOptions, caller: Caller, report: Report) -> None:
        super().__init__(options, (), caller, report)
        if of_forward.target and "/" in of_forward.target:
            self._rights += rbac.RUN
        self._routing = _NoRoutes(options, report, self._step)
        self._of_forward = of_forward
        self._forwards: tuple[Forward, ...] = ()
        self._known = replace(self._known, kind=FORWARD, reference=of_forward.target)

    @property
    def _does(self) -> str:
        return f"forward {self._of_forward.target or 'all services'}"

    def _claim(self, server: str) -> AbstractContextManager[Path]:  # noqa: ARG002 - there may be several to a server
        return RuntimeDirectory.of(self._caller).session(FORWARD, new_session_id())

    async def _create_shadow(self, api: Api, undo: AsyncExitStack, work: asyncio.TaskGroup) -> Tunnel:
        async with aclosing(_bound(api, self._of_forward)) as found:
            async for one in found:
                undo.enter_context(one.own)
                self._forwards += (one,)
        self._launched = self._forwards
        self._known = replace(self._known, forwards=_told(self._forwards))
        return await super()._create_shadow(api, undo, work)

    def _to_try(self, zone: "Zone", namespace: str) -> str | None:  # noqa: ARG002 - no name of the cluster is known here
        """Return a command that reaches a port which speaks HTTP by its number or name."""
        for one in self._forwards:
            if one.protocol == "TCP" and (one.port in (80, 8080) or one.name.partition("-")[0] == "http"):
                return f"curl http://{LOOPBACK}:{one.local_port}/"
        return None

    async def _run_command(self, session: ConnectStatus) -> None:
        if self._options.command:
            await self._command.run(session.environment)
            raise Quit


class _NoRoutes(Routing):
    """_NoRoutes routes nothing: what comes to a port is for the cluster."""

    def take_slice(self, endpoint_slice: Json) -> None:
        pass

    async def choose_ranges(self, api: Api, preparing: asyncio.Task[Front]) -> list[RoutedRange]:  # noqa: ARG002
        await preparing
        return []

    async def route_chosen(
        self,
        machine: Front,  # noqa: ARG002
        hello: "AgentHello",  # noqa: ARG002
        chosen: list[RoutedRange],
    ) -> list[RoutedRange]:
        return chosen

    def follow(self, api: Api, machine: Front, routed: list[RoutedRange], work: asyncio.TaskGroup) -> None:
        pass


async def _bound(api: Api, wanted: ForwardOptions) -> AsyncGenerator[Forward]:
    """Yield each forward. Raises what finding the target does, PortUnknown, TargetUnsuitable, and LocalPortTaken."""
    reference = Reference.parse(wanted.target) if wanted.target else None
    if reference is not None and (reference.kind != "service" or reference.group):
        workload = await find_workload(api, reference)
        addresses = PodAddresses(api, workload)
        for port in wanted.ports or _of_containers(workload.template):
            if not port.remote.isdecimal():
                raise TargetUnsuitable(f"{port.remote} is no number of a port, as {reference} needs it.")
            yield _forward(str(reference), int(port.remote), port, lambda _: addresses.now())
        return
    services = [one async for one in list_all(api, SERVICES.path(api.namespace)) if is_forwarded(one, reference)]
    if not services:
        if reference is not None:
            raise await service_absent(api, reference.name)
        await refuse_absent_namespace(api)
        raise TargetAbsent(f"Namespace {api.namespace} has no service with ports; nothing was changed.")
    for service in services:
        for port in chosen(service, wanted.ports):
            yield _forward(name_of(service), _remote(service, port), port, _find(service, api.namespace))


def is_forwarded(service: Json, reference: Reference | None) -> bool:
    """Tell whether a Service is meant: by its name, or where all are, each of somebody's that has ports."""
    if reference is not None:
        return name_of(service) == reference.name
    return labels_of(service).get(MANAGED_BY) != "ktpy" and bool(spec_of(service).get("ports"))


def chosen(service: Json, ports: Sequence[PortChoice]) -> Iterator[PortChoice]:
    """Yield the ports of a Service that are wanted, all without a choice, each by its number. Raises PortUnknown."""
    present = [
        PortChoice(None, str(one["port"]), one.get("protocol", "TCP"), one.get("name", ""))
        for one in spec_of(service).get("ports") or []
        if one.get("protocol", "TCP") in CARRIED
    ]
    if not ports:
        yield from present
    for wanted in ports:
        found = [
            one
            for one in present
            if wanted.remote in (one.remote, one.name) and wanted.protocol in (None, one.protocol)
        ]
        if not found:
            has = ", ".join(f"{one.remote}/{one.protocol}" + (f" ({one.name})" if one.name else "") for one in present)
            raise PortUnknown(
                f"Service {name_of(service)} has no port {wanted.remote}; nothing was changed.",
                hint=f"It has: {has or 'none that carries TCP or UDP'}.",
            )
        yield replace(found[0], local=wanted.local)


def _of_containers(template: Json) -> list[PortChoice]:
    """Return the ports that the containers of a pod name. Raises TargetUnsuitable where they name none."""
    named = [port for one in template["spec"]["containers"] for port in one.get("ports") or []]
    found = [
        PortChoice(None, str(one["containerPort"]), one.get("protocol", "TCP"), one.get("name", ""))
        for one in named
        if one.get("protocol", "TCP") in CARRIED
    ]
    if not found:
        raise TargetUnsuitable("Its containers name no ports; nothing was changed.", hint="Name one: [LOCAL:]PORT.")
    return found


def _remote(service: Json, port: PortChoice) -> int:
    """Return the number to dial: a headless Service leads to the pods themselves, and translates none."""
    if type_of(service) == "Headless":
        for one in spec_of(service)["ports"]:
            if str(one["port"]) == port.remote and isinstance(one.get("targetPort"), int):
                return int(one["targetPort"])
    return int(port.remote)


def _find(service: Json, namespace: str) -> Find:
    name = f"{name_of(service)}.{namespace}.svc"

    async def find(lookup: "ClusterLookup") -> list[str]:
        return list(map(str, await lookup.by_search(name)))

    return find


def _forward(target: str, remote: int, port: PortChoice, find: Find) -> Forward:
    protocol = port.protocol or "TCP"
    try:
        own = bind_like(int(port.remote), protocol) if port.local is None else bind(port.local, protocol)
    except OSError as error:
        raise LocalPortTaken(
            f"Port {port.local} of {LOOPBACK} cannot be had ({error.strerror}); nothing was changed.",
            hint=f"Choose another one of this laptop: LOCAL:{port.remote}",
        ) from error
    return Forward(target, remote, protocol, own, find, port.name)


def _told(forwards: Iterable[Forward]) -> tuple[ForwardStatus, ...]:
    """Say where each is, also by the variables that the kubelet has for a Service's own address."""
    told: list[ForwardStatus] = []
    for one in forwards:
        stem = one.target.rpartition("/")[2].upper().replace("-", "_").replace(".", "_") + "_SERVICE"
        variables = {f"{stem}_HOST": LOOPBACK, f"{stem}_PORT": str(one.local_port)}
        if any(other.target == one.target for other in told):
            variables.clear()
        if one.name:
            variables[f"{stem}_PORT_{one.name.upper().replace('-', '_')}"] = str(one.local_port)
        told.append(ForwardStatus(one.target, one.port, one.protocol, one.local_port, variables))
    return tuple(told)
