"""Passes the events of a session on to everybody who listens at the moment."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from ktpy.observe.events import Event, Missed

CAPACITY = 256


class Broadcast:
    """Publishing costs nothing where nobody listens, and never waits: a listener that is slow misses the oldest."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """`capacity` is how many events wait for one listener."""
        self._capacity = capacity
        self._listeners: set[_Listener] = set()

    def publish(self, event: Event) -> None:
        """Hand the event to all listeners, in the event loop's thread."""
        for listener in self._listeners:
            listener.put(event)

    async def listen(self) -> AsyncIterator[Event]:
        """Yield what is published from the first step of this iterator on. It ends with its task only."""
        listener = _Listener(self._capacity)
        self._listeners.add(listener)
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self, capacity: int) -> None:
        self._waiting: deque[Event] = deque(maxlen=capacity)
        self._missed = 0
        self._is_filled = asyncio.Event()

    def put(self, event: Event) -> None:
        self._missed += len(self._waiting) == self._waiting.maxlen
        self._waiting.append(event)
        self._is_filled.set()

    async def get(self) -> Event:
        while not self._waiting:
            self._is_filled.clear()
            await self._is_filled.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(missed)
        return self._waiting.popleft()
