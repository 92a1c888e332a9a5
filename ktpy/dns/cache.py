"""This module keeps replies of other servers for as long as their TTLs allow (RFC 1035 section 7.4, RFC 2308)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import monotonic
from typing import NamedTuple

from ktpy.dns.message import Query, lifetime, readdressed


class _Kept(NamedTuple):
    reply: bytes
    ttl_offsets: tuple[int, ...]
    stored_at_s: float
    expires_at_s: float


class ReplyCache:
    """A ReplyCache holds up to `capacity` raw replies; the one unused for longest makes room."""

    def __init__(self, capacity: int = 2000, clock: Callable[[], float] = monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, query: Query) -> bytes | None:
        """Return the reply for `query`, its TTLs less its age here; None when there is none or it has expired."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock()
        if now >= kept.expires_at_s:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return readdressed(kept.reply, query, kept.ttl_offsets, int(now - kept.stored_at_s))

    def put(self, key: Hashable, query: Query, reply: bytes) -> None:
        """Store a reply, unless it must not be cached."""
        kept = lifetime(reply, query.question)
        if kept is None:
            return
        ttl_s, ttl_offsets = kept
        now = self._clock()
        self._kept[key] = _Kept(reply, ttl_offsets, now, now + ttl_s)
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
