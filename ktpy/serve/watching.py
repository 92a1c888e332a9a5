"""The requests that one intercept serves, told to any number of viewers. A viewer that is slow misses some."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any

from ktpy.inspect.connection import WatchedConnection
from ktpy.inspect.draft import Clock, Draft
from ktpy.inspect.events import ConnectionUnread, ReplayRefused, RequestsMissed, WatchBegun, WatchEvent, encode
from ktpy.inspect.record import WatchedRequest
from ktpy.inspect.store import RequestStore, size_of
from ktpy.link.taps import Tap
from ktpy.serve.late_reading import LateReading
from ktpy.serve.local_port import LocalPort
from ktpy.serve.local_udp_port import LocalUdpPort
from ktpy.serve.replay import refused, replay
from ktpy.wire.route import ServicePort

QUEUE_LIMIT = 1000
QUEUE_LIMIT_BYTES = 4 << 20
"""So much waits for a viewer, at most."""
GATHER_S = 0.005
"""Who waits for the next event has those that come so much later with it."""


class Watching:
    """A Watching reads what passes while there is a viewer. What it has read is kept, for a replay."""

    def __init__(
        self, ports: Mapping[ServicePort, LocalPort | LocalUdpPort], begun: Callable[[int], WatchBegun]
    ) -> None:
        """`begun` makes what a viewer is told first, of how many connections are open."""
        self._ports = {port: local for port, local in ports.items() if isinstance(local, LocalPort)}
        self._begun = begun
        self._viewers: set[Viewer] = set()
        self._kept = RequestStore()
        self._late = LateReading()
        self._count = 0

    async def stream(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the events for one viewer, until it leaves; `request` may ask for `bodies` and `secrets`."""
        viewer, how = Viewer(), _how(request)
        open_connections = sum(len(local.taps) for local in self._ports.values())
        self._join(viewer)
        try:
            yield encode(self._begun(open_connections), **how)
            while True:
                yield encode(await viewer.take(), **how)
        finally:
            self._leave(viewer)

    async def replay(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the request of the `id` that was asked for, then how it went when it was sent again; or why not."""
        how, number = _how(request), request.get("id")
        first = self._kept.get(number) if isinstance(number, int) else None
        refusal = f"There is no request {number}: {self._told_kept()}." if first is None else refused(first)
        if first is None or refusal:
            yield encode(ReplayRefused(refusal or ""), **how)
            return
        yield encode(first, **how)
        local = next(local for port, local in self._ports.items() if port.number == first.port)
        yield encode(await replay(first, local), **how)

    def _told_kept(self) -> str:
        ids = [one.id for one in self._kept]
        return f"those from {min(ids)} to {max(ids)} are kept" if ids else "none was watched yet"

    def _join(self, viewer: "Viewer") -> None:
        self._viewers.add(viewer)
        if len(self._viewers) == 1:
            for port, local in self._ports.items():
                local.taps.begin(partial(self._tap, port.number, local.number))

    def _leave(self, viewer: "Viewer") -> None:
        self._viewers.discard(viewer)
        if not self._viewers:
            self._late.forget()
            for local in self._ports.values():
                local.taps.end()

    def _tap(self, port: int, local_port: int, is_new: bool) -> Tap:
        def tell(draft: Draft) -> None:
            if draft.id is None:
                self._count += 1
                draft.id = self._count
            told = draft.record(draft.id, port, local_port)
            self._kept.keep(told)
            self._tell(told)

        def give_up(why: str) -> None:
            self._tell(ConnectionUnread(port, why))

        def reader(clock: Clock) -> WatchedConnection:
            return WatchedConnection(tell, give_up, clock, is_new=is_new)

        return self._late.tap(reader)

    def _tell(self, event: WatchEvent) -> None:
        for viewer in self._viewers:
            viewer.offer(event)


class Viewer:
    """A Viewer takes events when it can. What there is no room for is counted in their place."""

    def __init__(self, limit: int = QUEUE_LIMIT, limit_bytes: int = QUEUE_LIMIT_BYTES) -> None:
        self._limit, self._limit_bytes = limit, limit_bytes
        self._waiting: deque[WatchEvent] = deque()
        self._bytes = 0
        self._missed = 0
        self._some = asyncio.Event()

    def offer(self, event: WatchEvent) -> None:
        """Take it, or count it as missed."""
        if self._missed or len(self._waiting) >= self._limit or self._bytes > self._limit_bytes:
            self._missed += 1
        else:
            self._waiting.append(event)
            self._bytes += _size(event)
        self._some.set()

    async def take(self) -> WatchEvent:
        """Return the next event; how many were missed comes in their place."""
        if not self._waiting and not self._missed:
            self._some.clear()
            await self._some.wait()
            await asyncio.sleep(GATHER_S)
        if self._waiting:
            event = self._waiting.popleft()
            self._bytes -= _size(event)
            return event
        missed, self._missed = self._missed, 0
        return RequestsMissed(missed)


def _size(event: WatchEvent) -> int:
    return size_of(event) if isinstance(event, WatchedRequest) else 0


def _how(request: Mapping[str, Any]) -> dict[str, bool]:
    return {name: request.get(name) is True for name in ("bodies", "secrets")}
