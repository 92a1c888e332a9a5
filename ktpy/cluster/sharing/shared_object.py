"""Objects that several sessions use together, and that go with the last of them.

Each session notes itself as a holder in an annotation. The last one deletes the object under the resource version at
which it saw itself alone: somebody who came in between has changed that version, so the deletion is refused. Whoever
comes too late finds no object, and creates a new one. There is no lock and no leader, so that a crash leaves nothing
held: dead holders are dropped by the next who leaves, or by `ktpy clean`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from functools import partial

from ktpy.cluster.names import MANAGED_BY, TARGET, holder_annotation, holders
from ktpy.errors import Forbidden, NameTaken, RestoreIncomplete
from ktpy.frozen import dataclass
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, is_being_deleted, labels_of, metadata_of
from ktpy.kube.refusals import Conflict, NotFound
from ktpy.kube.watch import watch_object
from ktpy.kube.writes import ATTEMPTS, annotate, delete, race

DELETION_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class SharedObject:
    """A SharedObject is one such object; `collection` is its API path without the name."""

    api: Api
    collection: str
    name: str
    target: str

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}"

    async def look(self) -> Json | None:
        """Return the object for `hold`; None where there is none, or the user may not see it."""
        with suppress(NotFound, Forbidden):
            return await self.api.request("GET", self.path)
        return None

    async def hold(self, manifest: Json, session: str, owner: str, seen: Json | None = None) -> Json:
        """Create the object, or become a holder of the one that exists. Returns the object as it is then.

        `manifest` names the session as its holder, `seen` is the object where it was there a moment ago. Raises
        NameTaken when the object is not ktpy's.
        """
        for _ in range(ATTEMPTS):
            if seen is None:
                with suppress(Conflict):
                    return await self.api.request("POST", self.collection, body=manifest)
            with suppress(NotFound, Conflict):  # gone since, or another one by now
                found = seen or await self.api.request("GET", self.path)
                seen = None
                if not is_ours(found, self.target):
                    raise NameTaken(
                        f"{found.get('kind', 'An object')} {self.name} exists in this namespace and is not ktpy's.",
                        hint=f"ktpy needs this name to intercept {self.target}.",
                    )
                if not is_being_deleted(found):
                    found = await annotate(self.api, self.path, found, {holder_annotation(session): owner})
                    if not is_being_deleted(found):
                        return found
                await until_gone(self.api, self.collection, self.name, metadata_of(found)["uid"])
        raise RestoreIncomplete(f"{self.name} is created and deleted again and again by others; ktpy gave up.")

    async def release(
        self, gone: Collection[str], is_unused: Callable[[], Awaitable[bool]] | None = None
    ) -> Json | None:
        """Drop these holders; delete the object if none is left, and return what was deleted.

        `is_unused` has the last word: others may need an object that they do not hold, as somebody has made it anew.
        """
        attempt = partial(self._release_once, frozenset(gone), is_unused)
        return await race(attempt, f"{self.name} changes too often to be deleted; it is left to `ktpy clean`.")

    async def _release_once(self, gone: frozenset[str], is_unused: Callable[[], Awaitable[bool]] | None) -> Json | None:
        """Raises Conflict when its status has changed meanwhile, or somebody has joined."""
        try:
            found = await self.api.request("GET", self.path)
            if not is_ours(found, self.target) or is_being_deleted(found):
                return None
            if dropped := holders(annotations_of(found)).keys() & gone:
                # The answer is what this very write left: of several who leave at once, one sees nobody else.
                found = await annotate(
                    self.api, self.path, found, dict.fromkeys(map(holder_annotation, sorted(dropped)))
                )
            if holders(annotations_of(found)) or (is_unused is not None and not await is_unused()):
                return None
            metadata = metadata_of(found)
            await delete(self.api, self.path, metadata["uid"], metadata["resourceVersion"])
        except NotFound:
            return None
        return found


def is_ours(found: Json, target: str) -> bool:
    """Tell whether it is ktpy's object for this Service."""
    labels = labels_of(found)
    return labels.get(MANAGED_BY) == "ktpy" and labels.get(TARGET) == target


async def until_gone(api: Api, collection: str, name: str, uid: str) -> None:
    """Wait for an object that is being deleted. Raises RestoreIncomplete after DELETION_TIMEOUT_S."""
    try:
        async with asyncio.timeout(DELETION_TIMEOUT_S), aclosing(watch_object(api, collection, name)) as states:
            async for found in states:
                if found is None or metadata_of(found)["uid"] != uid:
                    return
    except TimeoutError as exc:
        raise RestoreIncomplete(f"{name} is being deleted since {DELETION_TIMEOUT_S:g} s or more.") from exc
