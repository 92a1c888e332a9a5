"""Renews the pods behind a Service one by one, so that the connections to them are made anew.

The eviction API does it (https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/): PodDisruptionBudgets
hold, and no template changes. The next pod goes when a replacement of the one before is ready.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from ktpy.errors import ApiUnreachable, PodNotReady, TargetUnsuitable
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, conditions_of, is_being_deleted, metadata_of, name_of, status_of
from ktpy.kube.refusals import Conflict, NotFound, Unavailable
from ktpy.kube.resources import PODS
from ktpy.kube.watch import list_all

EVICTION_TIMEOUT_S = 120.0
"""How long a budget may keep one pod."""
RETRY_S = 1.0
REPLACEMENT_TIMEOUT_S = 300.0
"""How long a replacement may take to be ready."""
SETTLE_S = 2.0
"""Nodes learn within a second where a Service leads; who connects anew before that reaches an original pod again."""
_NEVER_REPLACED = ("Job", "Node")
"""A Job counts an evicted pod as failed, or is done; a node's static pod cannot be evicted."""


async def refuse_renewal(api: Api, service: str, selector: Mapping[str, str]) -> None:
    """Raise TargetUnsuitable when the pods cannot be renewed one by one, and Forbidden. Nothing changes."""
    pods = await _pods(api, selector)
    if unreplaced := [name_of(pod) for pod in pods if _controller(pod) in (None, *_NEVER_REPLACED)]:
        raise TargetUnsuitable(
            f"Clients of {service} cannot be moved: no controller would replace pod {', '.join(unreplaced)}.",
            hint="Without --move-clients, those that keep connections open come when they connect anew.",
        )
    if len(ready := list(filter(_is_ready, pods))) < 2:
        counted = "1 ready pod" if ready else "no ready pod"
        raise TargetUnsuitable(
            f"Clients of {service} cannot be moved: it has {counted}, and would be down while that is renewed.",
            hint="`kubectl rollout restart` starts a new pod before the old one goes; or scale it to two first.",
        )
    with suppress(Unavailable, NotFound, Conflict):  # a budget may say no for now
        await _evict(api, ready[0], is_dry_run=True)


async def renew(api: Api, service: str, selector: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Renew each of the pods; `tell` gets a sentence about each.

    Raises PodNotReady when a budget or a replacement takes too long: the pods that are left stay as they are.
    """
    await asyncio.sleep(SETTLE_S)
    originals = await _pods(api, selector)
    known = {metadata_of(pod)["uid"] for pod in originals}
    for number, pod in enumerate(originals, 1):
        if not await _until_evicted(api, pod):
            continue  # it has gone by itself
        try:
            async with asyncio.timeout(REPLACEMENT_TIMEOUT_S):
                while not await _has_new(api, selector, known):  # noqa: ASYNC110 - what is asked is in the cluster
                    await asyncio.sleep(RETRY_S)
        except TimeoutError as exc:
            raise PodNotReady(
                f"Pod {name_of(pod)} was evicted, and none in its place is ready after {REPLACEMENT_TIMEOUT_S:g} s; "
                f"the other pods of {service} are left as they are."
            ) from exc
        known |= {metadata_of(one)["uid"] for one in await _pods(api, selector)}
        tell(f"pod {name_of(pod)} is renewed ({number} of {len(originals)})")


async def _until_evicted(api: Api, pod: Json) -> bool:
    """Return whether it was evicted; False when it has gone by itself. Raises PodNotReady when it may not go."""
    refused = ApiUnreachable("nothing")
    try:
        async with asyncio.timeout(EVICTION_TIMEOUT_S):
            while True:
                try:
                    await _evict(api, pod)
                except (NotFound, Conflict):
                    return False
                except Unavailable as error:  # 429: the budget
                    refused = error
                    await asyncio.sleep(RETRY_S)
                else:
                    return True
    except TimeoutError as exc:
        raise PodNotReady(
            f"Pod {name_of(pod)} may not be evicted, also after {EVICTION_TIMEOUT_S:g} s; it and the pods after it "
            f"are left as they are. {refused.message}"
        ) from exc


async def _evict(api: Api, pod: Json, *, is_dry_run: bool = False) -> None:
    metadata = metadata_of(pod)
    options: Json = {"preconditions": {"uid": metadata["uid"]}} | ({"dryRun": ["All"]} if is_dry_run else {})
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "deleteOptions": options,
    }
    await api.request("POST", PODS.path(metadata["namespace"], metadata["name"], "eviction"), body=eviction)


async def _pods(api: Api, selector: Mapping[str, str]) -> list[Json]:
    """Return the pods that are there to stay."""
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = [pod async for pod in list_all(api, PODS.path(api.namespace), labels=labels)]
    return [pod for pod in pods if not is_being_deleted(pod) and status_of(pod).get("phase") in ("Pending", "Running")]


async def _has_new(api: Api, selector: Mapping[str, str], known: Collection[str]) -> bool:
    return any(_is_ready(pod) and metadata_of(pod)["uid"] not in known for pod in await _pods(api, selector))


def _controller(pod: Json) -> str | None:
    """Return the kind of what makes another pod when this one is gone."""
    owners: list[Json] = pod["metadata"].get("ownerReferences") or []
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), None)


def _is_ready(pod: Json) -> bool:
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions_of(pod))
