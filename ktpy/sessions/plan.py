"""What the user asked for, looked at in the light of the cluster. Nothing is changed yet."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ktpy.cluster.changes import preview
from ktpy.cluster.changes.gateway import Gateway
from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.changes.plan import Plan
from ktpy.cluster.changes.preview import Preview
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.service import network_policies, ports, targets
from ktpy.cluster.service.ports import Exposed
from ktpy.cluster.service.service_state import selector_for
from ktpy.cluster.sharing.lease import OwnLease
from ktpy.kube.client import Api
from ktpy.sessions.options import InterceptOptions

OnProgress = Callable[[PodProgress], None]


class Part(Protocol):
    """A session's part in the cluster: a Gateway or a Preview of `ktpy.cluster.changes`."""

    lease: OwnLease
    pods: GatewayPods

    async def enter(self, on_step: Callable[[str], None], join: Callable[[], Awaitable[None]]) -> None: ...

    async def leave(self) -> None: ...

    async def guard(self, on_notice: Callable[[str], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Undertaking:
    """What will be done."""

    target: str
    exposed: tuple[Exposed, ...]
    warnings: list[str]
    make: Callable[[str, str, OnProgress], Part]
    """By session id and public key."""


async def look_at(api: Api, options: InterceptOptions, owner: str) -> Undertaking:
    """Raises what is wrong with the target or the ports, in a sentence."""
    if options.kind == "preview":
        return _preview(api, options, owner)
    return await _intercept(api, options, owner)


async def _intercept(api: Api, options: InterceptOptions, owner: str) -> Undertaking:
    service = await targets.find(api, targets.Reference.parse(options.target))
    name: str = service["metadata"]["name"]
    await targets.refuse_unsuitable(api, service)
    is_mesh = options.match is not None
    exposed = ports.exposed_ports(service, options.expose, is_mesh=is_mesh, protocol=options.protocol)
    selector = selector_for(service) or {}
    await network_policies.refuse_labels(api, name, selector, options.gateway_labels)
    warnings = [
        *targets.warnings(service),
        *ports.shared_ports(service, exposed),
        *await network_policies.warnings_for(api, name, selector, options.gateway_labels),
    ]

    def make(session: str, public_key: str, on_progress: OnProgress) -> Part:
        plan = _plan(options, exposed, owner, session, public_key)
        return Gateway(api, name, plan, on_progress, is_mesh=is_mesh)

    return Undertaking(name, exposed, warnings, make)


def _preview(api: Api, options: InterceptOptions, owner: str) -> Undertaking:
    preview.refuse_name(options.target)
    exposed = preview.preview_ports(options.expose)

    def make(session: str, public_key: str, on_progress: OnProgress) -> Part:
        plan = _plan(options, exposed, owner, session, public_key)
        host, ingress_class = options.ingress_host, options.ingress_class
        return Preview(api, options.target, plan, on_progress, ingress_host=host, ingress_class=ingress_class)

    return Undertaking(options.target, exposed, [], make)


def _plan(options: InterceptOptions, exposed: tuple[Exposed, ...], owner: str, session: str, public_key: str) -> Plan:
    return Plan(
        exposed,
        public_key,
        options.image,
        owner,
        description=describe(options, exposed),
        session=session,
        protocol=options.protocol,
        replicas=options.replicas,
        pod_labels=options.gateway_labels,
        pod_timeout_s=options.pod_timeout_s,
    )


def describe(options: InterceptOptions, exposed: tuple[Exposed, ...]) -> str:
    """What others read about the session in `ktpy list`: `mesh of port 80, VERSION: foobar`."""
    numbers = ", ".join(str(one.remote) for one in exposed)
    match = f", {options.match}" if options.match is not None else ""
    return f"{options.kind} of port{'s' if len(exposed) > 1 else ''} {numbers}{match}"


def facts(options: InterceptOptions) -> dict[str, Any]:
    """The part of the session's status that does not change."""
    return {
        "kind": options.kind,
        "reference": options.target,
        "target": options.target,
        "match": str(options.match) if options.match is not None else None,
        "when_local_down": options.when_local_down,
    }
