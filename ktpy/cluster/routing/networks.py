"""Arithmetic on IP ranges, both families together. Pure."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_network
from typing import NamedTuple

from ktpy.helper.protocol import LocalNetwork

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Overlap(NamedTuple):
    """An Overlap has `shared`, the part of `network` that lies in `local`, too."""

    network: Network
    local: LocalNetwork
    shared: Network


def aggregate(networks: Iterable[Network]) -> list[Network]:
    """Write the same addresses in as few ranges as possible, IPv4 first."""
    every = list(networks)
    v4 = collapse_addresses(network for network in every if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in every if isinstance(network, IPv6Network))
    return [*v4, *v6]


def subtract(networks: Iterable[Network], holes: Iterable[Network]) -> list[Network]:
    """Return what is left of the ranges without the holes."""
    left = aggregate(networks)
    for hole in aggregate(holes):
        left = [part for network in left for part in _without(network, hole)]
    return aggregate(left)


def outranking(networks: Iterable[Network], taken: Iterable[Network]) -> list[Network]:
    """Return the same addresses, with its two halves for every range that is `taken`.

    The kernel keeps to the longest prefix: routes to the halves count before a route to the whole that is there
    already, and leave it as it is. A single address has no halves.
    """
    others = set(taken)
    return [
        part
        for network in networks
        for part in (network.subnets() if network in others and network.num_addresses > 1 else (network,))
    ]


def overlaps(
    networks: Iterable[Network], local_networks: Iterable[LocalNetwork], allowed: Sequence[Network] = ()
) -> list[Overlap]:
    """Find the addresses that cluster and machine both claim. Default routes and `allowed` do not count."""
    locals_ = [local for local in local_networks if local.network.prefixlen > 0]
    found = (
        Overlap(network, local, shared)
        for network in networks
        for local in locals_
        if (shared := _intersection(network, local.network)) is not None
    )
    return [overlap for overlap in found if not any(_contains(network, overlap.shared) for network in allowed)]


def covering(addresses: Iterable[Address]) -> list[Network]:
    """Return per family the smallest range that holds all these addresses; any range that holds them holds it, too."""
    every = list(addresses)
    found: list[Network] = []
    for version in (4, 6):
        family = [address for address in every if address.version == version]
        if family:
            lowest, highest = min(int(address) for address in family), max(int(address) for address in family)
            bits = family[0].max_prefixlen
            found.append(ip_network(f"{family[0]}/{bits - (lowest ^ highest).bit_length()}", strict=False))
    return found


def enclosing(networks: Iterable[Network]) -> list[Network]:
    """Return per family the smallest range that holds all these ranges."""
    return covering(address for network in networks for address in (network[0], network[-1]))


def is_covered(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _intersection(one: Network, other: Network) -> Network | None:
    """Return the smaller of two ranges that meet: it lies in the other."""
    return max(one, other, key=lambda network: network.prefixlen) if one.overlaps(other) else None


def _contains(outer: Network, inner: Network) -> bool:
    return outer.overlaps(inner) and outer.prefixlen <= inner.prefixlen


def _without(network: Network, hole: Network) -> Iterable[Network]:
    if not _contains(network, hole):
        return () if _contains(hole, network) else (network,)
    return network.address_exclude(hole)  # type: ignore[arg-type]  # what contains it is of its family
