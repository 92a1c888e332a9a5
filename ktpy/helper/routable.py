"""This module says what may never be routed into a TUN: for the helper, for discovery and for --include."""

from ipaddress import ip_network
from typing import Final

from ktpy.helper.wire import Network

SHORTEST_PREFIX: Final = 8
"""A cluster's ranges are not wider. A wider one is a default route in disguise (0.0.0.0/1 and 128.0.0.0/1)."""

NEVER_ROUTED: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        [  # RFC 6890
            *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255"),
            "::/96",  # unspecified, loopback, the deprecated IPv4-compatible range
            *("::ffff:0:0/96", "fe80::/10", "ff00::/8"),
        ],
    )
)
"""Addresses of this host, loopback, link-local, multicast and broadcast mean something else on every machine."""


def is_default_route(network: Network) -> bool:
    """Tell whether the network is a default route, or as wide as one."""
    return network.prefixlen < SHORTEST_PREFIX


def reserved_in(network: Network) -> Network | None:
    """Return the first never-routed range that shares addresses with this network."""
    shared = (reserved for reserved in NEVER_ROUTED if reserved.version == network.version)
    return next((reserved for reserved in shared if network.overlaps(reserved)), None)


def is_reserved(network: Network) -> bool:
    """Tell whether every address of the network is never routed."""
    reserved = reserved_in(network)
    return reserved is not None and network.prefixlen >= reserved.prefixlen  # of two that overlap one holds the other
