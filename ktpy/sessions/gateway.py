"""`ktpy gateway keep`, `release` and `who`: the gateway that stays between intercepts."""

import time
from typing import Any

from ktpy.cluster.changes import keeping
from ktpy.cluster.changes.gateway import GATEWAY
from ktpy.cluster.changes.keeping import StandingGateway
from ktpy.cluster.changes.plan import SessionIdentity
from ktpy.cluster.names import new_session_id
from ktpy.cluster.pods import renewal
from ktpy.cluster.service import targets
from ktpy.cluster.service.interceptee import Interceptee
from ktpy.cluster.service.reference import Reference
from ktpy.daemon.caller import Caller
from ktpy.daemon.records import Records
from ktpy.errors import TargetAbsent
from ktpy.kube.client import Api
from ktpy.kube.objects import name_of
from ktpy.observe.events import Notice, Report, StartStep
from ktpy.sessions.once import ClusterRef, describe
from ktpy.sessions.options import InterceptOptions
from ktpy.sessions.undo_killed import undo_killed


def keep(options: InterceptOptions, caller: Caller, report: Report) -> dict[str, Any]:
    """Let the gateway of a Service stand until it is released; return what `--output json` prints.

    Raises what an intercept raises that cannot begin; then nothing is left.
    """
    began_s = time.monotonic()

    def step(detail: str, name: str = "gateway") -> None:
        report(StartStep(name, detail, round(time.monotonic() - began_s, 3)))

    async def work(api: Api) -> dict[str, Any]:
        await undo_killed(api, Records.of(caller), report)
        plan = await GATEWAY.prepare(api, options)
        for warning in plan.warnings:
            report(Notice(warning))
        session = SessionIdentity(new_session_id(), caller.owner, "")
        change = GATEWAY.change(api, plan, session, lambda pod: step(str(pod), "pod"))
        keeper = await keeping.keep(api, plan.interceptee, change, session.id, step)
        if options.move_clients:
            await renewal.renew(api, plan.interceptee.name, plan.selector, step)
        gateway = await keeping.look(api, plan.interceptee)
        return _as_data(gateway) | {"is_new": keeper.session == session.id, "wanted_image": options.image}

    return ClusterRef(options.kubeconfig, options.context, options.namespace).run(work)


def release(place: ClusterRef, target: str, caller: Caller, report: Report) -> dict[str, Any]:
    """End that the gateway of a Service is kept, whoever keeps it; return what `--output json` prints.

    Raises RestoreIncomplete, and TargetAbsent where there is neither a Service nor a gateway.
    """

    async def work(api: Api) -> dict[str, Any]:
        await undo_killed(api, Records.of(caller), report)
        before = await _look(api, target)
        await keeping.leave(api, before.service, [one.id for one in before.keepers])
        return _as_data(await keeping.look(api, before.service)) | {"released": list(map(describe, before.keepers))}

    return place.run(work)


def who(place: ClusterRef, target: str) -> dict[str, Any]:
    """Return who has a part in the gateway of a Service, as `--output json` prints it. Raises TargetAbsent."""

    async def work(api: Api) -> dict[str, Any]:
        return _as_data(await _look(api, target))

    return place.run(work)


async def _look(api: Api, target: str) -> StandingGateway:
    """Find the gateway also where the Service itself has been deleted."""
    reference = Reference.parse(target)
    try:
        service = Interceptee(api.namespace, name_of(await targets.find(api, reference)))
    except TargetAbsent:
        gateway = await keeping.look(api, Interceptee(api.namespace, reference.name))
        if reference.kind != "service" or not gateway.participants:
            raise
        return gateway
    return await keeping.look(api, service)


def _as_data(gateway: StandingGateway) -> dict[str, Any]:
    return {
        "service": gateway.service.name,
        "namespace": gateway.service.namespace,
        "image": gateway.image,
        "is_redirected": gateway.is_redirected,
        "sessions": list(map(describe, gateway.participants)),
    }
