"""Connections for clients of the proxy: from the pod where a destination is the cluster's, else from this machine."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final, TypeVar

from aiohappyeyeballs import start_connection

from ktpy.capture.proxy.destination import Address, Destination, DialFailure, Kind, failure_of
from ktpy.capture.proxy.names import Names
from ktpy.errors import KtpyError
from ktpy.kube.endpoint import ApiEndpoint

if TYPE_CHECKING:
    from ktpy.capture.tun.relay import Dial

Network = IPv4Network | IPv6Network
P = TypeVar("P", bound=asyncio.Protocol)

DIAL_TIMEOUT_S: Final = 10.0
"""For the cluster, as behind the TUN: a link that is lost is waited for that long, too."""
OUTSIDE_TIMEOUT_S: Final = 30.0
HAPPY_EYEBALLS_DELAY_S: Final = 0.25
"""RFC 8305, 8."""


@dataclass(slots=True)
class DialCounters:
    """DialCounters count the connections that were made, by where they lead, and those that failed."""

    cluster: int = 0
    direct: int = 0
    failed: int = 0


@dataclass(slots=True)
class Dialler:
    """A Dialler connects to destinations; `networks` are the cluster's addresses."""

    names: "asyncio.Future[Names]"
    """Known once the link stands; until then names wait."""
    from_pod: "Dial"
    networks: list[Network] = field(default_factory=list)
    proxied: ApiEndpoint | None = None
    """An API server that is reached by a proxy of the user's."""
    counters: DialCounters = field(default_factory=DialCounters)

    async def connect(self, make: Callable[[], P], destination: Destination) -> P:
        """Connect, and return the protocol that `make` made. Raises DialFailure."""
        try:
            if self.proxied is not None and destination == (self.proxied.host, self.proxied.port):
                connected, is_inside = await _by_proxy(make, self.proxied), False
            else:
                addresses, is_inside = await self.locate(destination)
                if is_inside:
                    connected = await self._from_pod(make, addresses, destination)
                else:
                    connected = await _from_here(make, addresses, destination)
        except DialFailure:
            self.counters.failed += 1
            raise
        self.counters.cluster += is_inside
        self.counters.direct += not is_inside
        return connected

    async def locate(self, destination: Destination) -> tuple[list[Address], bool]:
        """Return the addresses of a destination, and whether they are reached from the pod. Raises DialFailure.

        So are those of the cluster's names, and those of its ranges, whatever name they have.
        """
        if address := destination.address:
            return [address], self._is_ours(address)
        found = await (await asyncio.shield(self.names)).resolve(destination.host)
        ours = [address for address in found.addresses if found.is_inside or self._is_ours(address)]
        return ours or found.addresses, bool(ours)

    def _is_ours(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    async def _from_pod(self, make: Callable[[], P], addresses: Iterable[Address], destination: Destination) -> P:
        """Try one address after the other; the first failure is the one that is told."""
        first: OSError | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    _, protocol = await self.from_pod(make, str(address), destination.port)
            except OSError as error:
                first = first or error
            else:
                return protocol  # type: ignore[return-value]  # what `make` made
        raise failure_of(first or OSError("no address"), destination, "from the cluster")


async def _from_here(make: Callable[[], P], addresses: Iterable[Address], destination: Destination) -> P:
    try:
        async with asyncio.timeout(OUTSIDE_TIMEOUT_S):
            infos = [
                (
                    socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    socket.SOCK_STREAM,
                    socket.IPPROTO_TCP,
                    "",
                    (str(address), destination.port),
                )
                for address in addresses
            ]
            connected = await start_connection(infos, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S)
            _, protocol = await asyncio.get_running_loop().create_connection(make, sock=connected)
            return protocol
    except OSError as error:
        raise failure_of(error, destination, "directly from this machine") from error


async def _by_proxy(make: Callable[[], P], server: ApiEndpoint) -> P:
    try:
        _, protocol = await server.connect(make)
    except KtpyError as error:
        raise DialFailure(Kind.UNREACHABLE, error.message) from error
    return protocol
