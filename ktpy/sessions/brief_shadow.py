"""A shadow pod for one question, which goes once that is answered."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from ktpy.aio.task_group import task_group
from ktpy.aio.uninterrupted import uninterrupted
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.shadow import Shadow
from ktpy.kube.client import Api
from ktpy.link.key import make_key
from ktpy.observe.events import Report, StartStep
from ktpy.sessions.options import ConnectOptions
from ktpy.sessions.outages import Outages
from ktpy.sessions.shadow_uplink import shadow_uplink
from ktpy.sessions.shadows import Shadows

if TYPE_CHECKING:
    from ktpy.link.uplink import Uplink
    from ktpy.wire.session import AgentHello


@asynccontextmanager
async def brief_shadow(
    api: Api, options: ConnectOptions, report: Report, *, does: str, pod_overlay: Mapping[str, Any]
) -> "AsyncIterator[Uplink[AgentHello]]":
    """Have an uplink to a shadow pod while the block runs; `report` hears of the pod's steps. `does` is told to others.

    However the block ends, the pod is gone then, or on its way. Raises what goes wrong with the pod.
    """
    key, began_s = make_key(), time.monotonic()

    def tell(progress: PodProgress) -> None:
        report(StartStep("pod", str(progress), round(time.monotonic() - began_s, 3)))

    def make() -> Shadow:
        return Shadow(
            api,
            image=options.image,
            public_key=key.public_line,
            pod_timeout_s=options.pod_timeout_s,
            pod_overlay=pod_overlay,
            does=does,
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
        yield uplink
        for task in holding:
            task.cancel()
