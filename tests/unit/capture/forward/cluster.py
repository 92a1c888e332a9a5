"""A cluster that is loopback: what is found, and how it is dialled."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from ktpy.capture.forward.forwards import Forward, bind
from ktpy.capture.forward.server import ForwardServer
from ktpy.capture.spec import DatagramWay
from ktpy.dns.lookup import ClusterLookup

ABSENT, POD = "10.244.0.1", "10.244.0.7"


class Cluster:
    """`addresses` are those that are found; ABSENT refuses, every other one is loopback."""

    def __init__(self) -> None:
        self.addresses: list[str] = [POD]
        self.failure: Exception | None = None
        self.dialled: list[str] = []

    async def find(self, _lookup: ClusterLookup) -> list[str]:
        if self.failure:
            raise self.failure
        return self.addresses

    async def dial(self, make: Callable[[], Any], host: str, port: int) -> Any:
        self.dialled.append(host)
        if host == ABSENT:
            raise ConnectionRefusedError
        return await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)

    def forward(self, port: int, protocol: str = "TCP") -> Forward:
        return Forward("web", port, protocol, bind(0, protocol), self.find)

    @asynccontextmanager
    async def serving(self, forward: Forward, way: DatagramWay | None = None) -> AsyncIterator[ForwardServer]:
        lookup: asyncio.Future[ClusterLookup] = asyncio.get_running_loop().create_future()
        lookup.set_result(cast(ClusterLookup, None))
        server = ForwardServer([forward], lookup, self.dial, way)
        running = asyncio.create_task(server.wait_closed())
        try:
            yield server
        finally:
            running.cancel()
            await server.aclose()
