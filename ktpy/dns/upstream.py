"""This module asks the machine's previous resolvers with the result that glibc would get, only sooner.

glibc asks the first server and waits 5 s before it tries the second. Here all are asked at once, and an earlier
server's answer goes before a later one's, because it may know names (of a company, behind a VPN) that the later denies.
An earlier server that does not answer delays a later answer by half a second, and then not again for half a minute.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from ktpy.dns.forward import NoAnswerError
from ktpy.dns.message import answers_query, is_truncated, rcode_of
from ktpy.dns.records import Rcode
from ktpy.dns.stream import StreamClient

HEAD_START_S: Final = 0.5  # longer than the round trip to any resolver that is alive
SILENT_FOR_S: Final = 30.0
RESEND_AT_S: Final = (1.0, 2.5)
GIVE_UP_AT_S: Final = 4.5  # less than the 5 s after which glibc gives up


class Upstream:
    """An Upstream exchanges messages with a list of resolvers, in their order of preference."""

    def __init__(self, servers: Iterable[str | tuple[str, int]], *, own_addresses: Iterable[str] = ()) -> None:
        """Leave out servers whose address is one of `own_addresses`: each query would come back to us."""
        own = set(own_addresses)
        listed = (server if isinstance(server, tuple) else (server, 53) for server in servers)
        self.servers = tuple(dict.fromkeys(server for server in listed if server[0] not in own))
        self._silent_until_s: dict[int, float] = {}  # by index, of servers that let their head start pass
        self._streams: dict[int, StreamClient] = {}

    async def __call__(self, packet: bytes, question: bytes, *, over_tcp: bool) -> bytes:
        """Exchange one message. Raises NoAnswerError."""
        try:
            async with asyncio.timeout(GIVE_UP_AT_S):
                index, reply = await self._race(packet, question)
                if not (over_tcp and is_truncated(reply)):
                    return reply
                return await self._stream(index)(packet, question)
        except TimeoutError as exc:
            raise NoAnswerError(f"no resolver answered within {GIVE_UP_AT_S:g} s") from exc

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()

    def _stream(self, index: int) -> StreamClient:
        if index not in self._streams:
            dial = asyncio.get_running_loop().create_connection
            self._streams[index] = StreamClient(dial, [self.servers[index]])
        return self._streams[index]

    async def _race(self, packet: bytes, question: bytes) -> tuple[int, bytes]:
        """Return the index of the server that wins, and its reply. Raises NoAnswerError, TimeoutError."""
        news = asyncio.Event()
        attempts = [_Attempt(packet, question, news) for _ in self.servers]
        try:
            await asyncio.gather(*map(_Attempt.start, attempts, self.servers))
            started_s = asyncio.get_running_loop().time()
            for until_s, in_order in ((HEAD_START_S, True), *((at_s, False) for at_s in (*RESEND_AT_S, GIVE_UP_AT_S))):
                index = await self._winner(attempts, news, started_s + until_s, in_order=in_order)
                if index is not None:
                    self._remember_silence(attempts, in_order)
                    return index, attempts[index].reply
                if not in_order:  # the end of the head start is no time to ask again
                    for attempt in attempts:
                        attempt.send()
            raise TimeoutError
        finally:
            for attempt in attempts:
                attempt.close()

    async def _winner(
        self, attempts: list["_Attempt"], news: asyncio.Event, deadline_s: float, *, in_order: bool
    ) -> int | None:
        """Return the index of the server whose reply is taken; None at the deadline. Raises NoAnswerError."""
        try:
            async with asyncio.timeout_at(deadline_s):
                while (index := self._chosen(attempts, in_order)) is None:
                    news.clear()
                    await news.wait()
                return index
        except TimeoutError:
            return None

    def _chosen(self, attempts: list["_Attempt"], in_order: bool) -> int | None:
        """Return whose reply to take; None when that is open yet. Raises NoAnswerError when nobody can reply any more.

        With `in_order` a good reply waits for the servers before it, unless they are known to be silent.
        """
        for index, attempt in enumerate(attempts):
            if attempt.reply and rcode_of(attempt.reply) in (Rcode.NOERROR, Rcode.NXDOMAIN):
                return index
            if in_order and attempt.waiting and index not in self._silent_until_s:
                return None
        if any(attempt.waiting for attempt in attempts):
            return None
        for index, attempt in enumerate(attempts):  # nothing is better than a failure (SERVFAIL, REFUSED)
            if attempt.reply:
                return index
        raise NoAnswerError("no resolver can be reached")

    def _remember_silence(self, attempts: list["_Attempt"], in_order: bool) -> None:
        """Deny a head start, for a while or until they reply, to servers that let theirs pass."""
        now_s = asyncio.get_running_loop().time()
        for index, attempt in enumerate(attempts):
            if not attempt.waiting or self._silent_until_s.get(index, now_s) < now_s:
                self._silent_until_s.pop(index, None)
            elif not in_order:
                self._silent_until_s.setdefault(index, now_s + SILENT_FOR_S)


class _Attempt(asyncio.DatagramProtocol):
    """An _Attempt asks one server over UDP, from a socket (so a random port) of its own.

    The socket is connected: only the server's packets come in, and a closed port is known at once.
    """

    def __init__(self, packet: bytes, question: bytes, news: asyncio.Event) -> None:
        self.reply = b""
        self.waiting = True
        self._packet = packet
        self._question = question
        self._news = news
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self, server: tuple[str, int]) -> None:
        try:
            self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, remote_addr=server
            )
            self.send()
        except OSError:  # no route to it, no descriptor left, or not an address
            self._end()

    def send(self) -> None:
        if self.waiting and self._transport is not None:
            self._transport.sendto(self._packet)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        self.waiting = False
        self._news.set()

    # --- asyncio.DatagramProtocol

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if self.waiting and answers_query(data, self._packet, self._question):
            self.reply = data
            self._end()

    def error_received(self, _exc: Exception) -> None:
        self._end()  # ICMP says nobody listens there
