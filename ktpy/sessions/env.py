"""`ktpy env`: a shadow pod in a workload's clothes tells the environment, and goes; or a pod that runs is asked."""

import time
from contextlib import AsyncExitStack
from typing import Any

from ktpy.aio.task_group import task_group
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster import rbac
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.shadow import Shadow
from ktpy.kube.client import Api
from ktpy.link.key import make_key
from ktpy.observe.events import Report, StartStep
from ktpy.sessions.once import ClusterRef
from ktpy.sessions.options import ConnectOptions, WorkloadChoice
from ktpy.sessions.outages import Outages
from ktpy.sessions.shadow_uplink import shadow_uplink
from ktpy.sessions.shadows import Shadows
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
    key, began_s = make_key(), time.monotonic()

    def tell(progress: PodProgress) -> None:
        report(StartStep("pod", str(progress), round(time.monotonic() - began_s, 3)))

    def make() -> Shadow:
        return Shadow(
            api,
            image=options.image,
            public_key=key.public_line,
            pod_timeout_s=options.pod_timeout_s,
            pod_overlay=wardrobe.overlay(options.pod_overlay),
            does=f"env {wardrobe.workload}",
            on_progress=tell,
        )

    shadows = Shadows(make, lambda: False, lambda _: None)
    async with AsyncExitStack() as undo, task_group() as tasks:
        undo.push_async_callback(uninterrupted, shadows.delete)
        holding = [tasks.create_task(shadows.run(), name="keep a shadow pod")]
        await shadows.wait_created()
        uplink = shadow_uplink(
            api, shadows, Outages(report), key, pod_timeout_s=options.pod_timeout_s, comes_back=lambda: False
        )
        undo.callback(uplink.close)
        holding.append(tasks.create_task(uplink.run(), name="hold uplink"))
        found = await fetch_surroundings(uplink, wardrobe.clothes)
        for task in holding:
            task.cancel()
    return found
