"""Names that change: `python -m tests.bench.load.changes SERVICES PODS CHANGES`, of a cluster that is in this process.

Prints by how many MB the process that follows the changes is larger after all of them than after a tenth, when its
allocator has found its size; `held` is how many it took to know the names.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, cast

from ktpy.dns.zone import Zone
from ktpy.kube.client import Api
from ktpy.sessions.zone_feed import feed_zone
from tests.bench import memory

PODS_OF_SERVICE = 10
NAMESPACE = "shop"
KIND_OF = {"services": "service", "endpointslices": "slice"}
MANAGED_FIELDS = [{"manager": "kube-controller-manager", "fieldsV1": {"f:endpoints": "." * 1000}}]


class ChangingCluster:
    """A ChangingCluster stands for the API server: it has Services, and replaces a pod with each change."""

    namespace = NAMESPACE
    sleep = staticmethod(asyncio.sleep)

    def __init__(self, services: int, pods: int) -> None:
        self._services = services
        self._pods = [f"10.244.{number >> 8}.{number & 255}" for number in range(pods)]
        self._version = services
        self._asked: asyncio.Queue[int] = asyncio.Queue()

    def name(self, number: int) -> str:
        return f"service-{number:05}"

    def change(self, count: int) -> None:
        """Replace so many pods, one after the other."""
        self._asked.put_nowait(count)

    async def request(self, _method: str, path: str, *, query: Mapping[str, str]) -> Any:
        """Return the page of a list, as text that was parsed."""
        first, kind = int(query.get("continue", 0)), path.rpartition("/")[2]
        after = min(first + int(query["limit"]), self._services)
        metadata = {"resourceVersion": "1"} | ({"continue": str(after)} if after < self._services else {})
        objects = [getattr(self, KIND_OF[kind])(number) for number in range(first, after)]
        return json.loads(json.dumps({"metadata": metadata, "items": objects}))

    async def lines(self, path: str, **_: object) -> AsyncGenerator[bytes, None]:
        while path.endswith("/endpointslices"):
            for event in self._replacements(await self._asked.get()):
                yield json.dumps(event).encode()
            self._asked.task_done()
        await asyncio.Event().wait()

    async def until_changed(self) -> None:
        """Return when every change that was asked for has been taken."""
        await self._asked.join()

    def _replacements(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            fresh, pod = self._version, (self._version - self._services) % len(self._pods)
            self._pods[pod] = f"10.{fresh >> 16 & 63}.{fresh >> 8 & 255}.{fresh & 255}"
            self._version += 1
            yield {"type": "MODIFIED", "object": self.slice(pod // PODS_OF_SERVICE)}

    def service(self, number: int) -> dict[str, Any]:
        spec = {"clusterIP": f"10.96.{number >> 8}.{number & 255}", "ports": [{"name": "http", "port": 80}]}
        return {"metadata": self._metadata(number), "spec": spec}

    def slice(self, number: int) -> dict[str, Any]:
        pods = self._pods[number * PODS_OF_SERVICE : (number + 1) * PODS_OF_SERVICE]
        labels = {"kubernetes.io/service-name": self.name(number)}
        return {
            "metadata": self._metadata(number) | {"labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [pod], "conditions": {"ready": True}} for pod in pods],
        }

    def _metadata(self, number: int) -> dict[str, Any]:
        version = {"resourceVersion": str(self._version), "managedFields": MANAGED_FIELDS}
        return {"namespace": NAMESPACE, "name": self.name(number)} | version


async def sizes(cluster: ChangingCluster, changes: int, size: Callable[[], float]) -> tuple[float, float, float]:
    """Return the process's size before it knows anything, after a tenth of the changes, and after all."""
    empty = size()
    async with asyncio.TaskGroup() as tasks:
        feed = tasks.create_task(feed_zone(cast(Api, cluster), Zone(), lambda _slice: None))
        cluster.change(changes // 10)
        await cluster.until_changed()
        early = size()
        cluster.change(changes - changes // 10)
        await cluster.until_changed()
        late = size()
        feed.cancel()
    return empty, early, late


def main(services: int, pods: int, changes: int) -> dict[str, float]:
    empty, early, late = asyncio.run(
        sizes(ChangingCluster(services, pods), changes, lambda: memory.of_process(os.getpid())["rss"])
    )
    return {"held": late - empty, "grown": late - early}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))))
