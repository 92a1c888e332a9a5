"""Where what a program sends leaves its network: the cluster, the laptop's loopback, or the laptop's own network."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, Final, TypeVar

from ktpy.cluster.routing.networks import Address, Network

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial

P = TypeVar("P", bound=asyncio.Protocol)

HOST_NAME: Final = "host.ktpy.internal"
HOST: Final = IPv4Address("198.19.255.254")
"""The laptop's loopback has this address in the program's network. It is of the range for benchmarks (RFC 2544)."""
LOOPBACKS: Final = ("127.0.0.1", "::1")


@dataclass(slots=True)
class ExitCounters:
    """ExitCounters count connections that a program opened, by where they lead."""

    cluster: int = 0
    outside: int = 0
    loopback: int = 0


@dataclass(slots=True)
class Exits:
    """Exits dial for a program; `networks` are the cluster's addresses, and all others are the laptop's to reach."""

    from_pod: "Dial"
    networks: list[Network] = field(default_factory=list)
    counters: ExitCounters = field(default_factory=ExitCounters)

    def is_inside(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    async def dial(self, make: Callable[[], P], host: str, port: int) -> tuple[asyncio.Transport, P]:
        """Connect, as a Dial does."""
        address = ip_address(host)
        if address == HOST:
            self.counters.loopback += 1
            return await _to_loopback(make, port)
        if self.is_inside(address):
            self.counters.cluster += 1
            return await self.from_pod(make, host, port)  # type: ignore[return-value]  # what `make` made
        self.counters.outside += 1
        return await asyncio.get_running_loop().create_connection(make, host, port)


async def _to_loopback(make: Callable[[], P], port: int) -> tuple[asyncio.Transport, P]:
    """Connect by IPv4, or else IPv6. Raises the error of the first."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_connection(make, LOOPBACKS[0], port)
    except OSError as refusal:
        try:
            return await loop.create_connection(make, LOOPBACKS[1], port)
        except OSError:
            raise refusal from None
