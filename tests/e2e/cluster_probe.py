"""Runs ktpy.cluster on the lab's laptop, and tells in lines of JSON what it did: test_cluster_*.py ask for it.

    python -m tests.e2e.cluster_probe shadow IMAGE POD_TIMEOUT_S
    python -m tests.e2e.cluster_probe ranges
    python -m tests.e2e.cluster_probe watch PATH

`--namespace` goes first. What fails is told as {"error": class, "message": ..., "hint": ...}.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from ktpy.cluster.api.client import Api
from ktpy.cluster.api.watch import Synced, watch
from ktpy.cluster.pods.pod_state import PodProgress
from ktpy.cluster.pods.shadow import Shadow
from ktpy.cluster.routing import ranges
from ktpy.cluster.tasks import task_group
from ktpy.errors import KtpyError

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


async def run_shadow(api: Api, arguments: argparse.Namespace) -> None:
    """Bring a shadow pod up, read its host key, release its deadline, take it away."""
    began = time.monotonic()

    def note(progress: PodProgress) -> None:
        tell(stage=progress.stage, pod=progress.pod, after_s=round(time.monotonic() - began, 3))

    shadow = Shadow(
        api, image=arguments.image, public_key=PUBLIC_KEY, pod_timeout_s=arguments.pod_timeout_s, on_progress=note
    )
    tell(job=shadow.job)
    try:
        async with task_group() as tasks:
            supervising = tasks.create_task(shadow.supervise())
            await shadow.create()
            tell(pod=await shadow.pod_name(), host_key=await shadow.host_key())
            await shadow.release_deadline()
            job = await api.request("GET", f"/apis/batch/v1/namespaces/{api.namespace}/jobs/{shadow.job}")
            tell(deadline=job["spec"].get("activeDeadlineSeconds"))
            supervising.cancel()
    finally:
        tell(gave_up_after_s=round(time.monotonic() - began, 3))
        await shadow.delete()


async def run_ranges(api: Api, _: argparse.Namespace) -> None:
    for routed in await ranges.discover(api):
        tell(network=str(routed.network), kind=routed.kind, source=routed.source)


async def run_watch(api: Api, arguments: argparse.Namespace) -> None:
    async with aclosing(watch(api, arguments.path)) as events:
        async for event in events:
            name = None if isinstance(event, Synced) else event.obj["metadata"]["name"]
            tell(event=type(event).__name__, name=name)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--namespace")
    verbs = parser.add_subparsers(required=True)
    shadow = verbs.add_parser("shadow")
    shadow.add_argument("image")
    shadow.add_argument("pod_timeout_s", type=float)
    shadow.set_defaults(run=run_shadow)
    verbs.add_parser("ranges").set_defaults(run=run_ranges)
    watching = verbs.add_parser("watch")
    watching.add_argument("path")
    watching.set_defaults(run=run_watch)
    arguments = parser.parse_args()
    run: Callable[[Api, argparse.Namespace], Awaitable[None]] = arguments.run
    try:
        api = await Api.load(namespace=arguments.namespace)
        try:
            await run(api, arguments)
        finally:
            await api.close()
    except KtpyError as failure:
        tell(error=type(failure).__name__, message=failure.message, hint=failure.hint)


if __name__ == "__main__":
    asyncio.run(main())
