"""`ktpy env`: a shadow pod in a workload's clothes tells the environment, and goes; or a pod that runs is asked."""

from typing import Any

from ktpy.cluster import rbac
from ktpy.kube.client import Api
from ktpy.observe.events import Report
from ktpy.sessions.brief_shadow import brief_shadow
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import ConnectOptions, WorkloadChoice
from ktpy.sessions.surroundings import PodSurroundings, Wardrobe, fetch_surroundings, open_wardrobe


def environment(options: ConnectOptions, choice: WorkloadChoice, report: Report) -> dict[str, Any]:
    """Return what `ktpy env --output json` prints. Whatever happens, the pod is gone, or on its way.

    Raises what `open_wardrobe` raises before anything is changed, and what goes wrong with the pod.
    """

    async def work(api: Api) -> dict[str, Any]:
        wardrobe = await open_wardrobe(api, choice, options.image)
        if (running := wardrobe.running) is not None:
            found, secret_names = running.environment, wardrobe.clothes.secret_names_among(running.environment)
        else:
            told = await _ask(api, options, wardrobe, report)
            found, secret_names = dict(told.environment), told.secret_names
        return {
            "namespace": api.namespace,
            "workload": wardrobe.workload,
            "container": wardrobe.clothes.container,
            "pod": running.name if running else None,
            "environment": dict(sorted(found.items())),
            "secret_names": sorted(secret_names & set(found)),
        }

    needed = rbac.CONNECT + rbac.RUN + (rbac.FROM_POD if choice.from_pod else ())
    return ClusterRef(options.kubeconfig, options.context, options.namespace).run(work, needed)


async def _ask(api: Api, options: ConnectOptions, wardrobe: Wardrobe, report: Report) -> PodSurroundings:
    overlay, does = wardrobe.overlay(options.pod_overlay), f"env {wardrobe.workload}"
    async with brief_shadow(api, options, report, does=does, pod_overlay=overlay) as uplink:
        return await fetch_surroundings(uplink, wardrobe.clothes)
