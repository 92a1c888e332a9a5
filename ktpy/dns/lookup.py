"""Addresses of the cluster's names for whoever asks ktpy itself, as a program gets them from the machine's resolver."""

import asyncio
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from ktpy.dns.encoding import UndecodableError, UnencodableError, addresses_in, question
from ktpy.dns.forward import NoAnswerError
from ktpy.dns.message import rcode_of
from ktpy.dns.records import Elsewhere, Rcode, RRType
from ktpy.dns.resolver import SplitResolver

Address = IPv4Address | IPv6Address


class ClusterLookup:
    """A ClusterLookup asks a resolver that has no upstream, about names in full and by the search domains."""

    def __init__(self, resolver: SplitResolver, search: Sequence[str]) -> None:
        self._resolver = resolver
        self._search = tuple(search)

    def is_ours(self, name: str) -> bool:
        """Return whether the name, as it stands, is for the cluster to decide."""
        return self._resolver.zone.lookup(name, RRType.A) is not Elsewhere.NOT_OURS

    async def in_full(self, name: str) -> list[Address]:
        """Return the addresses of a name as it stands, IPv4 first; none where it does not exist.

        Raises NoAnswerError where the cluster's DNS would know, and does not answer.
        """
        found = await asyncio.gather(self._ask(name, RRType.A), self._ask(name, RRType.AAAA))
        return [address for addresses in found for address in addresses]

    async def by_search(self, name: str) -> list[Address]:
        """Return the same for the first search domain below which the name has an address."""
        for full in self._expanded(name):
            if addresses := await self.in_full(full):
                return addresses
        return []

    def _expanded(self, name: str) -> Iterator[str]:
        return (f"{name}.{domain}" for domain in self._search)

    async def _ask(self, name: str, qtype: RRType) -> list[Address]:
        try:
            asked = self._resolver.answer_now(question(name, qtype).data, over_tcp=True)
            reply = asked if isinstance(asked, bytes) else await self._resolver.answer(asked, over_tcp=True)
            if rcode_of(reply) == Rcode.SERVFAIL:
                raise NoAnswerError(f"the cluster's DNS does not tell the address of {name}")
            return addresses_in(reply)
        except (UnencodableError, UndecodableError, ValueError):  # it is no name of DNS
            return []
