"""Watches of collections of objects: each is listed, then watched, through every interruption.

The library's own Watch is not used: it reconnects without a pause, repeats an expired resource version once and then
gives up, and asks for no bookmarks. The rules followed here are those of client-go's reflector and of
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ktpy.aio.retry import Backoff
from ktpy.errors import ApiUnreachable, Forbidden, Unauthorized
from ktpy.kube.client import Api
from ktpy.kube.objects import Json, annotations_of, metadata_of, name_of, parse_object
from ktpy.kube.refusals import Action, Gone, refusal

PAGE_LIMIT = 500
"""The number of objects in one page of a list, as kubectl asks for."""
WATCH_S = 240
"""The server keeps a watch open for this long to twice as long, so that not all clients come back at once."""
SILENCE_MARGIN_S = 15.0
logger = logging.getLogger(__name__)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Upsert:
    """The object is new or has changed. managedFields and kubectl's copy, half of its size, are left out."""

    obj: Json


@dataclass(frozen=True, slots=True)
class Delete:
    """The object is gone. After a relist only its namespace and name are known."""

    obj: Json


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything that existed when the list was made has been told. It follows each list, so also a relist."""


WatchEvent = Upsert | Delete | Synced


async def watch(
    api: Api,
    path: str,
    *,
    labels: str = "",
    fields: str = "",
    backoff: Backoff | None = None,
    is_patient: bool = False,
) -> AsyncGenerator[WatchEvent, None]:
    """Yield all objects under `path` (/api/v1/services) that match the selectors, and their changes, for ever.

    It waits for a link that breaks and a server that is busy or restarts; and after its first watch also for
    credentials that have expired and rights that were taken away. When the resource version has expired it
    lists again, and tells only the differences. Raises NotFound; until then Forbidden and Unauthorized;
    and, unless `is_patient`, ApiUnreachable when the first list does not succeed.
    """
    collection = _Collection(api, path, labels, fields)
    backoff = backoff or Backoff(sleep=api.sleep)
    loop = asyncio.get_running_loop()
    is_synced = False
    while True:
        try:
            if not collection.version:
                async with aclosing(collection.relist()) as events:
                    async for event in events:
                        yield event
                yield Synced()
                is_synced = True
            started_at = loop.time()
            async with aclosing(collection.follow()) as events:
                async for event in events:
                    backoff.reset()
                    yield event
            if loop.time() - started_at > backoff.limit_s:
                backoff.reset()  # a quiet watch that the server ended in its time
        except Gone:
            collection.version = ""
        except (ApiUnreachable, Unauthorized, Forbidden) as error:
            is_refused = not isinstance(error, ApiUnreachable)
            if not (collection.watches > 1 if is_refused else is_synced or is_patient):
                raise
            logger.info("the watch of %s is interrupted: %s", path, error)
        await backoff.pause()


async def watch_object(api: Api, collection: str, name: str) -> AsyncGenerator[Json | None, None]:
    """Yield one object of the collection after each of its changes, for ever; None when it is absent.

    Raises what `watch` raises.
    """
    is_present = False
    async with aclosing(watch(api, collection, fields=f"metadata.name={name}")) as events:
        async for event in events:
            match event:
                case Upsert(found):
                    is_present = True
                    yield found
                case Delete():
                    is_present = False
                    yield None
                case Synced() if not is_present:  # it was not in the list
                    yield None


async def list_all(api: Api, path: str, *, labels: str = "", fields: str = "") -> AsyncGenerator[Json, None]:
    """Yield every object under `path`, page by page. An object may come twice when the list expires half way."""
    async for item in _Collection(api, path, labels, fields).pages():
        yield item


class _Collection:
    """A _Collection knows the resource version of each object, so that a relist tells only the differences."""

    def __init__(self, api: Api, path: str, labels: str, fields: str) -> None:
        self.version = ""
        self.watches = 0
        """How many have been tried."""
        self._api, self._path = api, path
        self._selectors = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        self._known: dict[tuple[str, str], str] = {}

    async def pages(self) -> AsyncGenerator[Json, None]:
        """Yield the objects of a list. At the end `version` is its resource version."""
        query = self._selectors | {"limit": str(PAGE_LIMIT)}
        while True:
            try:
                page = await self._api.request("GET", self._path, query=query)
            except Gone:  # the list behind the continue token has expired: from the beginning
                if query.pop("continue", None) is None:
                    raise
                continue
            for item in page.get("items") or []:
                yield item
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                self.version = metadata.get("resourceVersion", "")
                return
            query["continue"] = metadata["continue"]

    async def relist(self) -> AsyncGenerator[WatchEvent, None]:
        listed: set[tuple[str, str]] = set()
        async for item in self.pages():
            listed.add(_key(item))
            if self._learn(item):
                yield Upsert(item)
        for namespace, name in self._known.keys() - listed:
            del self._known[namespace, name]
            yield Delete({"metadata": {"namespace": namespace, "name": name}})

    async def follow(self) -> AsyncGenerator[WatchEvent, None]:
        """Yield the changes since `version`, until the server ends the watch."""
        timeout_s = round(WATCH_S * random.uniform(1, 2))  # noqa: S311 - no secret
        query = self._selectors | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self.version,
            "timeoutSeconds": str(timeout_s),
        }
        lines = self._api.lines(self._path, query=query, silence_s=timeout_s + SILENCE_MARGIN_S)
        self.watches += 1
        async with aclosing(lines):
            async for line in lines:
                try:
                    change = parse_object(line)
                    kind, item = change["type"], change["object"]
                    version, code = item.get("metadata", {}).get("resourceVersion"), item.get("code", 500)
                except (ValueError, KeyError, AttributeError) as exc:
                    raise ApiUnreachable(f"What answers a watch of {self._path} is no Kubernetes API server.") from exc
                if kind == "ERROR":
                    raise refusal(code if isinstance(code, int) else 500, item, Action.of("GET", self._path, query))
                self.version = version or self.version
                if kind == "DELETED":
                    self._known.pop(_key(item), None)
                    yield Delete(_slim(item))
                elif kind != "BOOKMARK" and self._learn(item):
                    yield Upsert(item)

    def _learn(self, item: Json) -> bool:
        """Note the object's version; False when it is known already."""
        key, version = _key(item), metadata_of(item).get("resourceVersion", "")
        if self._known.get(key) == version:
            return False
        self._known[key] = version
        _slim(item)
        return True


def _key(item: Json) -> tuple[str, str]:
    return metadata_of(item).get("namespace", ""), name_of(item)


def _slim(item: Json) -> Json:
    metadata_of(item).pop("managedFields", None)
    annotations_of(item).pop(_LAST_APPLIED, None)
    return item
