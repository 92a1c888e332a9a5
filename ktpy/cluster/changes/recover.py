"""`ktpy recover` gives one Service back what it selected, by whatever still tells it."""

import json
from dataclasses import dataclass

from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.gateway_exit import GatewayExit
from ktpy.cluster.changes.inventory import take_inventory
from ktpy.cluster.service import service_state
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.targets import refuse_absent_namespace
from ktpy.cluster.sharing.shared_object import is_ours
from ktpy.cluster.steps import run_steps
from ktpy.errors import RestoreIncomplete, SessionsLive, TargetAbsent
from ktpy.kube.client import Api
from ktpy.kube.objects import Json
from ktpy.kube.refusals import NotFound

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class RecoveredSelector:
    """A RecoveredSelector is what the Service selects again, and where ktpy has found that."""

    selector: dict[str, str]
    source: str


async def recover(api: Api, name: str, *, evict: bool = False) -> RecoveredSelector | None:
    """Take every session out of a Service and remove what ktpy has put around it; return None if there is nothing.

    Raises TargetAbsent, RestoreIncomplete when nothing tells the selector, and SessionsLive when live sessions use the
    Service, unless they are to be evicted.
    """
    interceptee = Interceptee(api.namespace, name)
    try:
        service = await api.request("GET", interceptee.service_path)
    except NotFound as exc:
        await refuse_absent_namespace(api)
        raise TargetAbsent(f"There is no service {name} in namespace {api.namespace}.") from exc
    inventory = await take_inventory(api, api.namespace)
    around = [one for one in inventory if one.service == interceptee and one.kind is GATEWAY]
    participants = {one.id: one for found in around for one in found.participants.values()}
    live = [one for one in participants.values() if one.is_live()]
    if live and not evict:
        keepers = sorted({one.owner for one in live if one.is_keeper()})
        owners = sorted({one.owner for one in live if not one.is_keeper()})
        uses = [f"in use by live sessions of {', '.join(owners)}"] if owners else []
        uses += [f"kept by {', '.join(keepers)}"] if keepers else []
        ends = [f"each leaves with `ktpy leave {name}`"] if owners else []
        ends += [f"`ktpy gateway release {name}` ends that it is kept"] if keepers else []
        hint = f"{', '.join(ends)}; `ktpy recover {name} --evict` takes them out."
        raise SessionsLive(
            f"Service {name} is {' and '.join(uses)}; nothing was changed.", hint=hint[0].upper() + hint[1:]
        )
    state = service_state.read(service)
    if not (around or state is not None or service_state.is_redirected(service)):
        return None
    recovered = await _find_selector(api, interceptee, service)
    if recovered is None:
        raise RestoreIncomplete(
            f"Nothing tells what service {name} selected: its annotation and the origin service are gone.",
            hint=f"Give it the labels of its pods: kubectl -n {api.namespace} edit service {name}",
        )
    everybody = {*participants, *(state.sessions if state is not None else ())}
    await run_steps(GatewayExit(api, interceptee, everybody, lost_selector=recovered.selector).steps_for_known)
    return recovered


async def _find_selector(api: Api, interceptee: Interceptee, service: Json) -> RecoveredSelector | None:
    if selector := service_state.selector_for(service):
        return RecoveredSelector(selector, "the service itself")
    origin = interceptee.origin(api)
    try:
        found = await api.request("GET", origin.path)
        if is_ours(found, origin.target) and (selector := found["spec"].get("selector")):
            return RecoveredSelector(selector, f"service {origin.name}")
    except NotFound:
        pass
    try:
        applied = json.loads((service["metadata"].get("annotations") or {}).get(_LAST_APPLIED) or "null")
        selector = applied["spec"]["selector"]
        if isinstance(selector, dict) and selector and not service_state.is_redirected(applied):
            return RecoveredSelector(selector, "what was last applied with kubectl")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return None
