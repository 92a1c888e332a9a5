"""Passes the events of a session on to everybody who listens at the moment."""

import asyncio
from collections.abc import AsyncIterator

from ktpy.observe.events import Event

CAPACITY = 256


class Broadcast:
    """A Broadcast never waits, and costs nothing where nobody listens. A listener that is slow misses the oldest."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        """`capacity` is how many events wait for one listener."""
        self._capacity = capacity
        self._queues: set[asyncio.Queue[Event]] = set()

    def publish(self, event: Event) -> None:
        """Hand the event to all listeners, in the event loop's thread."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def listen(self) -> AsyncIterator[Event]:
        """Yield what is published from the first step of this iterator on, for ever."""
        queue: asyncio.Queue[Event] = asyncio.Queue(self._capacity)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
