"""This module asks other servers: each question once at a time; it caches the replies and passes them on unchanged."""

import asyncio
import secrets
from collections.abc import Callable, Hashable
from time import monotonic
from typing import Protocol

from ktpy.dns.cache import ReplyCache
from ktpy.dns.message import AD, CD, DNSSEC_OK, RD, Query, readdressed


class NoAnswerError(Exception):
    """Nobody answered in time, or nobody could be asked."""


class Exchange(Protocol):
    """An Exchange carries one packet to a server and brings its reply, which has the packet's id and question."""

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        """Exchange one message; `over_tcp` says that the client can take a long reply, so a truncated one will not do.

        Raises NoAnswerError.
        """
        ...


class Forwarder:
    """A Forwarder puts a cache before an exchange, and lets one exchange serve all who ask the same at the same time.

    The latter also ends a forwarding loop: a query that comes back to us finds itself in flight, and waits
    for its own time-out instead of going round.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        concurrency: int = 64,
        cache_capacity: int = 2000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.cache_hits = 0
        self.exchanges = 0
        self._exchange = exchange
        self._cache_capacity = cache_capacity
        self._clock = clock
        self._cache = ReplyCache(cache_capacity, clock)
        self._in_flight: dict[Hashable, asyncio.Future[bytes]] = {}
        self._slots = asyncio.Semaphore(concurrency)  # each exchange may hold a descriptor for each server

    def replace_exchange(self, exchange: Exchange) -> None:
        """Ask another server from now on, and forget what the one before said."""
        self._exchange = exchange
        self._cache = ReplyCache(self._cache_capacity, self._clock)

    def counts(self, of: str) -> dict[str, int]:
        """Return its counters under the name of whom it asks."""
        return {f"{of}_cache_hits": self.cache_hits, f"{of}_exchanges": self.exchanges}

    def cached(self, query: Query) -> bytes | None:
        """Return the cached reply, None when there is none."""
        key = _key(query)
        reply = None if key is None else self._cache.get(key, query)
        self.cache_hits += reply is not None
        return reply

    async def ask(self, query: Query, *, over_tcp: bool) -> bytes:
        """Return the reply for `query`, from the cache or from the server. Raises NoAnswerError."""
        key = _key(query)
        if key is None:
            return readdressed(await self._fetch(query, over_tcp), query)
        if (reply := self.cached(query)) is not None:
            return reply
        flight = self._in_flight.get((key, over_tcp))
        if flight is not None:
            return readdressed(await asyncio.shield(flight), query)
        flight = asyncio.get_running_loop().create_future()
        cache = self._cache
        self._in_flight[key, over_tcp] = flight
        try:
            reply = await self._fetch(query, over_tcp)
            cache.put(key, query, reply)
            flight.set_result(reply)
        finally:
            del self._in_flight[key, over_tcp]
            if not flight.done():
                flight.set_exception(NoAnswerError("the query this one waited for got no answer"))
                flight.exception()  # marks it as retrieved, because often nobody waits
        return readdressed(reply, query)

    async def _fetch(self, query: Query, over_tcp: bool) -> bytes:
        async with self._slots:
            self.exchanges += 1
            # The client's id may be predictable, so the packet gets a random one (RFC 5452).
            packet = secrets.token_bytes(2) + query.data[2:]
            return await self._exchange(packet, query.question, over_tcp=over_tcp)


def _key(query: Query) -> Hashable | None:
    """Return what a reply depends on; None for a query whose EDNS options (cookies, client subnet) make it unique."""
    if query.has_edns_options:
        return None
    edns = None if query.edns_version is None else query.edns_flags & DNSSEC_OK
    return query.question, query.flags & (RD | AD | CD), edns
