"""The kind of change that `ktpy exchange`, `mesh` and `tap` make: a gateway before a Service, which they share."""

from collections.abc import Collection

from ktpy.aio.task_group import task_group
from ktpy.cluster.changes.change import ClusterChange, InterceptKind, OnProgress, Remains, own_lease
from ktpy.cluster.changes.gateway_entry import GatewayEntry
from ktpy.cluster.changes.gateway_exit import GatewayExit
from ktpy.cluster.changes.gateway_guard import GatewayGuard
from ktpy.cluster.changes.gateway_pods import GatewayPods
from ktpy.cluster.changes.options import InterceptOptions
from ktpy.cluster.changes.plan import InterceptPlan, SessionIdentity
from ktpy.cluster.pods import renewal
from ktpy.cluster.pods.overlay import placement_of
from ktpy.cluster.service import network_policies, ports, service_mesh, targets
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.reference import Reference
from ktpy.cluster.service.service_state import is_redirected, selector_for
from ktpy.cluster.steps import Step
from ktpy.kube.client import Api
from ktpy.kube.resources import DEPLOYMENTS, SERVICES
from ktpy.wire.route import FAIL


async def prepare(api: Api, options: InterceptOptions) -> InterceptPlan:
    """Find the Service and its ports. Raises what `targets` and `ports` refuse."""
    service = await targets.find(api, Reference.parse(options.target))
    name: str = service["metadata"]["name"]
    await targets.refuse_unsuitable(api, service)
    await targets.refuse_loop(service, (one.host for one in options.expose if one.host))
    by_request = options.match is not None or options.copied_percent is not None
    mappings = ports.resolve_ports(service, options.expose, by_request=by_request, protocol=options.protocol)
    selector = selector_for(service) or {}
    await network_policies.refuse_labels(api, name, selector, options.gateway_labels)
    if options.move_clients:
        await renewal.refuse_renewal(api, name, selector)
    async with task_group() as tasks:
        looking = tasks.create_task(targets.one_pod(api, selector), name="look at an original pod")
        policies = await network_policies.all_policies(api)
    original = looking.result()
    mappings = ports.numbered_as_in_pods(service, mappings, original)
    warnings = (
        *targets.warnings(service),
        *ports.shared_ports(service, mappings),
        *network_policies.warnings_for(policies, name, selector, options.gateway_labels, original),
    )
    interceptee, placement = Interceptee(api.namespace, name), placement_of(original or {})
    if original is not None and options.in_mesh:
        placement |= service_mesh.membership_of(original)
    elif original is not None and options.in_mesh is None and not is_redirected(service):
        service_mesh.refuse_undecided(name, original)
    return InterceptPlan(options, interceptee, mappings, selector, warnings, placement)


def change(api: Api, plan: InterceptPlan, session: SessionIdentity, on_progress: OnProgress) -> ClusterChange:
    """Make the change by which one session takes part in the gateway."""
    pods = GatewayPods(api, plan.interceptee, session)
    entry = GatewayEntry(api, plan, session, pods, on_progress)
    return ClusterChange(
        own_lease(api, plan, session),
        pods,
        preparation=entry.preparation,
        redirection=entry.redirection,
        exit=GatewayExit(api, plan.interceptee, {session.id}).steps,
        guard=GatewayGuard(api, plan.interceptee, session, entry).run,
    )


def removal(api: Api, interceptee: Interceptee, sessions: Collection[str]) -> tuple[Step, ...]:
    """Return the steps by which these sessions leave, and no others that may be dead."""
    return GatewayExit(api, interceptee, sessions).steps_for_known


def when_local_down(options: InterceptOptions) -> str:
    """Return what becomes of requests while the local port does not answer."""
    if options.copied_percent is not None:
        return "are not copied"
    return "fail, as you asked for" if options.when_local_down == FAIL else "go to the original pods"


GATEWAY = InterceptKind(
    roles=frozenset({"gateway", "origin"}),
    remains=(Remains("service", SERVICES), Remains("deployment", DEPLOYMENTS)),
    removal=removal,
    owns_service=False,
    prepare=prepare,
    change=change,
    undoing="giving {target} back",
    farewell="Left; {target} is as before.",
    when_local_down=when_local_down,
)
