"""This module sets links, addresses and routes over netlink. No other module imports pyroute2."""

import errno
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, NetlinkError

from ktpy.errors import HelperFailed
from ktpy.helper.protocol import LocalNetwork, TunOpened
from ktpy.helper.routable import is_reserved
from ktpy.helper.wire import Address, Network

IPV6_SETTINGS = Path("/proc/sys/net/ipv6/conf")

# linux/rtnetlink.h, linux/if_addr.h
AF_INET = 2
AF_INET6 = 10
IFA_F_NODAD = 0x02
RTN_UNICAST = 1
RTN_LOCAL = 2
RT_TABLE_LOCAL = 255

CLSACT_EGRESS = "ffff:fff3"
"""TC_H_CLSACT and TC_H_MIN_EGRESS of linux/pkt_sched.h."""

LOCAL_ROUTE_TIMEOUT_S = 1.0
MTU_MAX_BYTES = 1 << 16

QUEUE_PACKETS = 2048
"""So many packets wait in the kernel for ktpy, which is 0.1 s of 20,000 datagrams a second; what is more is lost."""
ALIAS_PREFIX = "ktpy "
"""A link is ours when its alias (ip-link(8)) is this and the journal's id."""

FIRST_METRIC = {4: 0, 6: 1}
"""The kernel takes 0 for IPv6 as its default of 1024."""

WIDEST_LOCAL_PREFIX = {4: 2, 6: 4}
"""A route wider than this is a default route in disguise: a VPN's 0.0.0.0/1 and 128.0.0.0/1, or 2000::/3."""


def link_names() -> set[str]:
    with IPRoute() as netlink:
        return {_attribute(link, "IFLA_IFNAME") for link in netlink.link("dump")}


def local_addresses() -> list[Address]:
    with IPRoute() as netlink:
        return [ip_address(_attribute(address, "IFA_ADDRESS")) for address in netlink.addr("dump")]


def way_to(address: Address) -> tuple[str, int]:
    """Return the link by which packets leave for an address, and the largest that it, or the route, carries in bytes.

    Raises HelperFailed where there is no way.
    """
    with IPRoute() as netlink:
        try:
            [route] = netlink.route("get", family=AF_INET if address.version == 4 else AF_INET6, dst=str(address))
            [link] = netlink.link("get", index=_attribute(route, "RTA_OIF"))
        except NetlinkError as exc:
            raise HelperFailed(f"This machine has no way to {address}: {exc}.") from exc
    metrics = _attribute(route, "RTA_METRICS")
    learnt = _attribute(metrics, "RTAX_MTU") if metrics else None
    return _attribute(link, "IFLA_IFNAME"), min(learnt or MTU_MAX_BYTES, _attribute(link, "IFLA_MTU"))


def set_up_link(planned: TunOpened, alias: str) -> TunOpened:
    """Give a new link its alias first (by which `delete_link` knows it), then addresses, and bring it up.

    Returns the link with what it got: no IPv6 addresses where the machine has IPv6 disabled. Raises NetlinkError.
    """
    address6 = planned.address6 if _enabled_ipv6(planned.name) else None
    with IPRoute() as netlink:
        [index] = netlink.link_lookup(ifname=planned.name)
        netlink.link("set", index=index, ifalias=alias, mtu=planned.mtu_bytes, txqlen=QUEUE_PACKETS)
        _bring_up(netlink, index, planned.address4, address6)
    return replace(planned, interface_index=index, address6=address6, peer6=planned.peer6 if address6 else None)


def bring_up(index: int) -> None:
    """Bring a link up as it is. Raises NetlinkError."""
    with IPRoute() as netlink:
        netlink.link("set", index=index, state="up")


def _bring_up(netlink: IPRoute, index: int, address4: IPv4Interface, address6: IPv6Interface | None) -> None:
    netlink.addr("replace", index=index, address=str(address4.ip), prefixlen=address4.network.prefixlen)
    if address6 is not None:
        netlink.addr(
            "replace",
            index=index,
            address=str(address6.ip),
            prefixlen=address6.network.prefixlen,
            flags=IFA_F_NODAD,  # nobody else is on this link, and the address must serve at once
        )
    netlink.link("set", index=index, state="up")
    if address6 is not None:
        _await_local_route(netlink, address6.ip)


def _await_local_route(netlink: IPRoute, address: IPv6Address) -> None:
    """Wait for the local route of a new IPv6 address, which the kernel adds later (addrconf_dad_work).

    It came up to 117 ms later, even without duplicate detection. Packets to the address are lost until
    then, and TCP repeats them after a second.
    """
    deadline_s = time.monotonic() + LOCAL_ROUTE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with suppress(NetlinkError):
            [found] = netlink.route("get", family=AF_INET6, dst=str(address))
            if found["type"] == RTN_LOCAL:
                return
        time.sleep(0.001)


def run_where_packets_leave(index: int, program_fd: int, name: str) -> None:
    """Have a link run a program on each packet that leaves by it (tc-bpf(8)). Raises NetlinkError."""
    with IPRoute() as netlink:
        netlink.tc("add", "clsact", index)
        try:
            netlink.tc(
                "add-filter",
                "bpf",
                index,
                fd=program_fd,
                name=name,
                parent=CLSACT_EGRESS,
                classid=1,
                direct_action=True,
            )
        except NetlinkError:
            netlink.tc("del", "clsact", index)
            raise


def is_ours(name: str, alias: str) -> bool:
    with IPRoute() as netlink:
        return _find(netlink, name, alias) is not None


def delete_link(name: str, alias: str) -> None:
    """Delete the link if it is the one with our alias; addresses and routes go with it. Raises NetlinkError."""
    with IPRoute() as netlink:
        index = _find(netlink, name, alias)
        if index is not None:
            _ignoring_absence(netlink.link, "del", index=index)


def add_routes(interface_index: int, networks: Iterable[Network]) -> None:
    """Route networks into the link, before any route of the same network with a metric (as VPNs' have): all or none.

    It never replaces a route. Raises HelperFailed where one of our own metric is in the way.
    """
    with IPRoute() as netlink:
        added = list[Network]()
        try:
            for network in networks:
                _change_route(netlink, "add", interface_index, network)
                added.append(network)
        except NetlinkError as exc:
            for other in added:
                _ignoring_absence(_change_route, netlink, "del", interface_index, other)
            raise _route_refused(network, exc) from exc


def restore_routes(opened: TunOpened, networks: Iterable[Network]) -> tuple[Network, ...]:
    """Bring the link up, with its addresses, and add those of the routes that have vanished; return them.

    A link that is brought down loses its routes and its IPv6 address. Raises NetlinkError, and as `add_routes`.
    """
    index = opened.interface_index
    with IPRoute() as netlink:
        _bring_up(netlink, index, opened.address4, opened.address6)
        there = {network for network, outgoing in _routed_networks(netlink) if outgoing == index}
    vanished = tuple(network for network in networks if network not in there)
    add_routes(index, vanished)
    return vanished


def _change_route(netlink: IPRoute, command: str, interface_index: int, network: Network) -> None:
    metric = FIRST_METRIC[network.version]
    netlink.route(command, dst=str(network), oif=interface_index, family=_family(network), priority=metric)


def local_networks(own_alias: str | None = None) -> list[LocalNetwork]:
    """Return every network the machine has an address in or a route to, in any routing table (VPNs use their own).

    Default routes, loopback, link-local, multicast and the link of `own_alias` are left out. The link of
    another user's ktpy counts: what is routed into it cannot be routed into ours.
    """
    with IPRoute() as netlink:
        names = {
            link["index"]: _attribute(link, "IFLA_IFNAME")
            for link in netlink.link("dump")
            if own_alias is None or _attribute(link, "IFLA_IFALIAS") != own_alias
        }
        found = {
            LocalNetwork(network, names[index])
            for network, index in (*_interface_networks(netlink), *_routed_networks(netlink))
            if index in names and _counts_as_local(network)
        }
    return sorted(found, key=lambda local: (local.network.version, local.network, local.interface))


def _interface_networks(netlink: IPRoute) -> Iterator[tuple[Network, int]]:
    for address in netlink.addr("dump"):
        prefix = _attribute(address, "IFA_ADDRESS")  # of a point-to-point link: the peer's
        yield ip_network(f"{prefix}/{address['prefixlen']}", strict=False), address["index"]
        own = _attribute(address, "IFA_LOCAL")
        if own not in (None, prefix):
            yield ip_network(own), address["index"]


def _routed_networks(netlink: IPRoute) -> Iterator[tuple[Network, int]]:
    for family in (AF_INET, AF_INET6):
        for route in netlink.route("dump", family=family):
            if route["type"] != RTN_UNICAST or _attribute(route, "RTA_TABLE") == RT_TABLE_LOCAL:
                continue
            destination = _attribute(route, "RTA_DST")
            if destination is None:
                continue
            network = ip_network(f"{destination}/{route['dst_len']}")
            for index in _outgoing(route):
                yield network, index


def _outgoing(route: Any) -> list[int]:
    index = _attribute(route, "RTA_OIF")
    if index is not None:
        return [index]
    return [hop["oif"] for hop in _attribute(route, "RTA_MULTIPATH") or []]


def _counts_as_local(network: Network) -> bool:
    return network.prefixlen >= WIDEST_LOCAL_PREFIX[network.version] and not is_reserved(network)


def _find(netlink: IPRoute, name: str, alias: str) -> int | None:
    for link in netlink.link("dump"):
        if _attribute(link, "IFLA_IFNAME") == name and _attribute(link, "IFLA_IFALIAS") == alias:
            index: int = link["index"]
            return index
    return None


def _enabled_ipv6(name: str) -> bool:
    """Tell whether the link has IPv6, and turn off its link-local address and router solicitations."""
    settings = IPV6_SETTINGS / name
    try:
        if (settings / "disable_ipv6").read_text().strip() != "0":
            return False
        (settings / "addr_gen_mode").write_text("1")  # IN6_ADDR_GEN_MODE_NONE
    except FileNotFoundError:  # a kernel without IPv6
        return False
    except OSError:  # a container with /proc/sys read-only: the link-local address is harmless
        pass
    return True


def _ignoring_absence(call: Callable[..., object], *args: object, **kwargs: object) -> None:
    try:
        call(*args, **kwargs)
    except NetlinkError as exc:
        if exc.code not in (errno.ESRCH, errno.ENODEV, errno.ENOENT):
            raise


def _route_refused(network: Network, exc: NetlinkError) -> HelperFailed:
    if exc.code == errno.EEXIST:
        return HelperFailed(
            f"There is a route to {network} already; ktpy left it alone and added none.",
            hint=f"See where it leads: ip route show {network}\nLeave the range out: --exclude {network}",
        )
    return HelperFailed(f"The kernel refuses a route to {network}: {exc}; ktpy added none.")


def _family(network: Network) -> int:
    return AF_INET if network.version == 4 else AF_INET6


def _attribute(message: Any, name: str) -> Any:
    return message.get_attr(name)
