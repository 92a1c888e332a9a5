"""Chooses the ranges that stand in for those of the cluster's that are a local network's, too."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_network
from typing import Final

from ktpy.cluster.routing.networks import Network, overlaps, subtract
from ktpy.cluster.routing.ranges import RoutedRange
from ktpy.errors import RangeOverlap
from ktpy.helper.protocol import LocalNetwork
from ktpy.helper.routable import NEVER_ROUTED, TUN_ADDRESSES
from ktpy.packet.stand_ins import StandIns

DEFAULT_POOL: Final = (ip_network("240.0.0.0/4"), ip_network("fd6b:7472::/32"))
"""240.0.0.0/4 is reserved (RFC 1112, section 4): no network of the Internet, nor any at home or at work, has its
addresses, and Linux treats them as all others. Of what is set aside, 198.18.0.0/15 is too small for a cluster, and
other tunnels have it; 100.64.0.0/10 is providers', and some VPNs' and clusters'. The other one is of RFC 4193."""


class StandInPool:
    """A StandInPool hands out ranges of a pool that nobody else has."""

    def __init__(self, pool: Sequence[Network], taken: Iterable[Network], stand_ins: StandIns) -> None:
        """Nothing of what is `taken`, or a TUN's own, is handed out. `stand_ins` learn what is.

        Families of which the pool has nothing get the default.
        """
        versions = {network.version for network in pool}
        every = [*pool, *(network for network in DEFAULT_POOL if network.version not in versions)]
        self._free = subtract(every, [*taken, *NEVER_ROUTED, *TUN_ADDRESSES])
        self._stand_ins = stand_ins

    def translated(
        self, ranges: Sequence[RoutedRange], local_networks: Iterable[LocalNetwork], allowed: Sequence[Network]
    ) -> list[RoutedRange]:
        """Return the ranges, with stand-ins for those that overlap a local network, where `allowed` does not cover
        that. Raises RangeOverlap where none is left that is large enough.
        """
        both = {one.network for one in overlaps((entry.network for entry in ranges), local_networks, allowed)}
        return [replace(entry, stand_in=self._take(entry)) if entry.network in both else entry for entry in ranges]

    def _take(self, entry: RoutedRange) -> Network:
        network, length = entry.network, entry.network.prefixlen
        room = next((one for one in self._free if one.version == network.version and one.prefixlen <= length), None)
        if room is None:
            raise RangeOverlap(
                f"{network} ({entry.kind}) is a local network too, and there is no free range of addresses as large to "
                "stand in for it.",
                hint=f"Name one, at least a /{length}, to which this machine has no route: --translate-to RANGE",
            )
        taken = ip_network((room.network_address, length))
        self._free = subtract(self._free, [taken])
        self._stand_ins.add(network, taken)
        return taken
