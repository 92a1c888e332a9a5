"""The last requests, as many as there is room for."""

from collections.abc import Iterator

from ktpy.inspect.record import WatchedRequest

KEPT_LIMIT_BYTES = 16 << 20
"""Of all that a session keeps; requests under way have two bodies each beside that."""
_ENTRY_BYTES = 1024
"""What an entry takes beside its headers and bodies, generously."""


class RequestStore:
    """A RequestStore forgets the oldest request when it is full."""

    def __init__(self, limit_bytes: int = KEPT_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: dict[int, WatchedRequest] = {}
        self._bytes = 0

    def keep(self, told: WatchedRequest) -> None:
        """Keep it, in the place of what was told of it before."""
        if before := self._held.pop(told.id, None):
            self._bytes -= size_of(before)
        self._held[told.id] = told
        self._bytes += size_of(told)
        while self._bytes > self._limit_bytes:
            oldest = next(iter(self._held))
            self._bytes -= size_of(self._held.pop(oldest))

    def get(self, number: int) -> WatchedRequest | None:
        return self._held.get(number)

    def __iter__(self) -> Iterator[WatchedRequest]:
        return iter(self._held.values())

    def __len__(self) -> int:
        return len(self._held)


def size_of(told: WatchedRequest) -> int:
    """Return about how many bytes it takes."""
    halves = (told.request, told.answer)
    headers = sum(len(name) + len(value) + 128 for half in halves for name, value in half.headers)
    return _ENTRY_BYTES + len(told.path) + headers + sum(len(half.body) for half in halves)
