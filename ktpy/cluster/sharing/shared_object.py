"""An object that several sessions use together, and that goes with the last of them.

Each session notes itself as a holder in an annotation. The last one deletes the object under the resource version at
which it saw itself alone: somebody who came in between has changed that version, so the deletion is refused. Whoever
comes too late finds no object, and creates a new one. No lock, no leader, nothing that a crash leaves held: holders
that are dead are dropped by the next who leaves, or by `ktpy clean`.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass

from ktpy.cluster.names import MANAGED_BY, TARGET, holder_annotation, holders
from ktpy.errors import NameTaken, RestoreIncomplete
from ktpy.kube.client import Api, Json
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.watch import Delete, Upsert, watch

MERGE_PATCH = "application/merge-patch+json"
ATTEMPTS = 50
"""Lost races in a row, until ktpy gives up: each means that another session has made progress."""
RETRY_S = 0.02
DELETION_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SharedObject:
    """One such object: `collection` is its API path without the name."""

    api: Api
    collection: str
    name: str
    target: str

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    async def hold(self, manifest: Json, session: str, owner: str) -> Json:
        """Create the object, or become a holder of the one that exists. The answer is the object as it is then.

        `manifest` names the session as its holder. Raises NameTaken when the object is not ktpy's.
        """
        for _ in range(ATTEMPTS):
            with suppress(Conflict):
                return await self.api.request("POST", self.collection, body=manifest)
            with suppress(NotFound, Conflict):  # gone since, or another one by now
                found = await self.api.request("GET", self.path)
                labels = found["metadata"].get("labels") or {}
                if labels.get(MANAGED_BY) != "ktpy" or labels.get(TARGET) != self.target:
                    raise NameTaken(
                        f"{found.get('kind', 'An object')} {self.name} exists in this namespace and is not ktpy's.",
                        hint=f"ktpy needs this name to intercept {self.target}.",
                    )
                if not found["metadata"].get("deletionTimestamp"):
                    patch = {
                        "metadata": {
                            "uid": found["metadata"]["uid"],
                            "annotations": {holder_annotation(session): owner},
                        }
                    }
                    found = await self.api.request("PATCH", self.path, body=patch, content_type=MERGE_PATCH)
                    if not found["metadata"].get("deletionTimestamp"):
                        return found
                await until_gone(self.api, self.collection, self.name, found["metadata"]["uid"])
        raise RestoreIncomplete(f"{self.name} is created and deleted again and again by others; ktpy gave up.")

    async def release(self, gone: Collection[str]) -> Json | None:
        """Drop these holders; delete the object if none is left, and answer with what was deleted."""
        for _ in range(ATTEMPTS):
            try:
                found = await self.api.request("GET", self.path)
                if not is_ours(found, self.target) or found["metadata"].get("deletionTimestamp"):
                    return None
                if dropped := holders(found["metadata"].get("annotations") or {}).keys() & set(gone):
                    annotations = dict.fromkeys(map(holder_annotation, sorted(dropped)))
                    patch = {"metadata": {"uid": found["metadata"]["uid"], "annotations": annotations}}
                    # The answer is what this very write left: of several who leave at once, one sees nobody else.
                    found = await self.api.request("PATCH", self.path, body=patch, content_type=MERGE_PATCH)
                if holders(found["metadata"].get("annotations") or {}):
                    return None
                await delete(self.api, self.path, found["metadata"]["uid"], found["metadata"]["resourceVersion"])
            except NotFound:
                return None
            except Conflict:  # its status has changed, or somebody has joined
                await asyncio.sleep(RETRY_S)
                continue
            return found
        raise RestoreIncomplete(f"{self.name} changes too often to be deleted; it is left to `ktpy clean`.")


def is_ours(found: Json, target: str) -> bool:
    """Whether it is ktpy's object for this Service."""
    labels = found["metadata"].get("labels") or {}
    return bool(labels.get(MANAGED_BY) == "ktpy" and labels.get(TARGET) == target)


async def delete(api: Api, path: str, uid: str, version: str | None = None, *, missing_ok: bool = False) -> None:
    """Delete exactly this object, and in exactly this version where one is given. Raises Conflict and NotFound."""
    preconditions = {"uid": uid} | ({"resourceVersion": version} if version is not None else {})
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": preconditions,
    }
    try:
        await api.request("DELETE", path, body=options)
    except NotFound:
        if not missing_ok:
            raise


async def patch_object(api: Api, path: str, change: Callable[[Json], Json | None]) -> tuple[Json, bool]:
    """Change one object as it is: `change` makes a merge patch of it, again for each time somebody was faster.

    The answer is the object after that, and whether it was changed. Raises NotFound.
    """
    for _ in range(ATTEMPTS):
        found = await api.request("GET", path)
        if (patch := change(found)) is None:
            return found, False
        try:
            return await api.request("PATCH", path, body=patch, content_type=MERGE_PATCH), True
        except Conflict:
            await asyncio.sleep(RETRY_S)
    raise RestoreIncomplete(f"{path.rpartition('/')[2]} is changed by others all the time; ktpy gave up.")


async def until_gone(api: Api, collection: str, name: str, uid: str) -> None:
    """Wait for an object that is being deleted. Raises RestoreIncomplete after DELETION_TIMEOUT_S."""
    try:
        async with (
            asyncio.timeout(DELETION_TIMEOUT_S),
            aclosing(watch(api, collection, fields=f"metadata.name={name}")) as events,
        ):
            present = False
            async for event in events:
                match event:
                    case Upsert(found):
                        present = found["metadata"]["uid"] == uid
                        if not present:
                            return
                    case Delete():
                        return
                    case _ if not present:  # Synced, and it was not in the list
                        return
    except TimeoutError as exc:
        raise RestoreIncomplete(f"{name} is being deleted since {DELETION_TIMEOUT_S:g} s or more.") from exc
