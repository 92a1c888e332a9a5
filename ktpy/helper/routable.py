"""This module says what may never be routed into a TUN: for the helper, for discovery and for --include."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Final

from ktpy.helper.wire import Address, Network

SHORTEST_PREFIX: Final = 8
"""A cluster's ranges are not wider. A wider one is a default route in disguise (0.0.0.0/1 and 128.0.0.0/1)."""

WIDEST_TOGETHER: Final = {4: 4, 6: 2}
"""All routes of one TUN together cover no more than so many ranges of the shortest prefix.

All private IPv4 (10/8, 172.16/12, 192.168/16, 100.64/10, 198.18/15) is less than a half more than one such range, and
clouds lend pods another of 240/4 or of what is routed nowhere; fd00::/8 is one of IPv6, of which the whole Internet
lies in six. So what is routed is never a default route in pieces.
"""

ROUTES_LIMIT: Final = 32_768
"""Where nobody tells the pods' ranges each pod has a route. A kernel carries these without effort."""

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

TUN_ADDRESSES: Final[tuple[Network, ...]] = (ip_network("198.18.0.0/18"), ip_network("fd6b:7470:79::/48"))
"""The TUNs' own addresses are in these: of a benchmark's (RFC 2544) and a private range (RFC 4193)."""


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


def refusal_together(networks: Iterable[Network], outside: Mapping[Address, str]) -> str | None:
    """Return why these may not all be routed into one TUN, to follow a colon; None where they may.

    `outside` are addresses that this machine reaches without the tunnel, each with what it is to the machine.
    """
    every = tuple(networks)
    if len(every) > ROUTES_LIMIT:
        return f"there would be {len(every)} routes, and ktpy makes {ROUTES_LIMIT} at most"
    for version, limit in WIDEST_TOGETHER.items():
        sizes = [2.0 ** (SHORTEST_PREFIX - network.prefixlen) for network in every if network.version == version]
        if sum(sizes) > limit:
            return f"together the routes would be wider than {limit} ranges /{SHORTEST_PREFIX} of IPv{version}"
    for address, meaning in outside.items():
        for network in every:
            if address in network:
                return f"{network} holds {address}, {meaning}"
    return None
