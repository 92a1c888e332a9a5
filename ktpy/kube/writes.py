"""Changes of objects that others may change at the same time: merge patches, and deletions with preconditions."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from ktpy.errors import RestoreIncomplete
from ktpy.kube.client import REQUEST_TIMEOUT_S, Api
from ktpy.kube.objects import Json, metadata_of
from ktpy.kube.refusals import Conflict, NotFound

T = TypeVar("T")

MERGE_PATCH = "application/merge-patch+json"
ATTEMPTS = 50
"""How many races in a row ktpy loses before it gives up: each one means that somebody else has made progress."""
RETRY_S = 0.02


async def merge_patch(api: Api, path: str, patch: Json) -> Json:
    """Send a JSON merge patch (RFC 7396) and return the object after it.

    Raises Conflict when the patch names a uid or a resourceVersion that is not the object's, and NotFound.
    """
    return await api.request("PATCH", path, body=patch, content_type=MERGE_PATCH)


async def annotate(api: Api, path: str, found: Json, annotations: Mapping[str, str | None]) -> Json:
    """Set annotations of exactly the object that was found; None removes one. Raises NotFound and Conflict."""
    return await merge_patch(
        api, path, {"metadata": {"uid": metadata_of(found)["uid"], "annotations": dict(annotations)}}
    )


async def patch_object(
    api: Api, path: str, change: Callable[[Json], Json | None], seen: Json | None = None
) -> tuple[Json, bool]:
    """Change one object as it is: `change` makes a merge patch of it, again for each time somebody was faster.

    `seen` is the object as it was a moment ago; then its patch has to name its resourceVersion. Returns the object
    after that, and whether it was changed. Raises NotFound.
    """

    async def attempt() -> tuple[Json, bool]:
        nonlocal seen
        found = seen or await api.request("GET", path)
        seen = None
        patch = change(found)
        return (found, False) if patch is None else (await merge_patch(api, path, patch), True)

    return await race(attempt, f"{path.rpartition('/')[2]} is changed by others all the time; ktpy gave up.")


async def race(attempt: Callable[[], Awaitable[T]], lost: str) -> T:
    """Call `attempt` again each time somebody was faster (Conflict). Raises RestoreIncomplete(lost) after ATTEMPTS."""
    for _ in range(ATTEMPTS):
        try:
            return await attempt()
        except Conflict:
            await asyncio.sleep(RETRY_S)
    raise RestoreIncomplete(lost)


async def delete(
    api: Api,
    path: str,
    uid: str,
    version: str | None = None,
    *,
    missing_ok: bool = False,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> None:
    """Delete exactly this object, and in exactly this version where one is given. Raises Conflict and NotFound."""
    preconditions = {"uid": uid} | ({"resourceVersion": version} if version is not None else {})
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": preconditions,
    }
    try:
        await api.request("DELETE", path, body=options, timeout_s=timeout_s)
    except NotFound:
        if not missing_ok:
            raise
