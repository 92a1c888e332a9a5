"""This module decides what the machine's resolver is to be told, and `ktpy.helper` does it. Pure.

The search list is a pod's own (`<ns>.svc.<domain> svc.<domain> <domain>`), so that a name means here what it means
in the user's namespace.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Final

from ktpy.dns.records import normalised, reverse_zones
from ktpy.helper.protocol import SetResolver

DEFAULT_CLUSTER_DOMAIN: Final = "cluster.local"
SYSTEMD_RESOLVED: Final = "systemd-resolved"
REVERSE_DOMAINS_MAX: Final = 128
"""systemd-resolved takes 256 domains for a link; this leaves room for the others."""


def cluster_domain_in(search: Iterable[str]) -> str:
    """Return the cluster's domain: what follows `<namespace>.svc.` in a pod's search list, which the kubelet wrote.

    A pod without one (a webhook gave it a `dnsPolicy`) leaves the default.
    """
    for name in search:
        match name.lower().strip(".").split(".", 2):
            case [_, "svc", domain]:
                return domain
    return DEFAULT_CLUSTER_DOMAIN


def search_path(cluster_domain: str, namespace: str) -> tuple[str, str, str]:
    """Return a pod's own search list."""
    return f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain


def server_address(resolver_kind: str, tun_number: int, tun_address: IPv4Address) -> IPv4Address:
    """Choose where the name server listens.

    For systemd-resolved it is the TUN's own address, which goes with the link. For resolv.conf it is a loopback
    address: when all of ktpy was killed, a closed loopback port refuses at once, and glibc asks the next server.
    """
    return tun_address if resolver_kind == SYSTEMD_RESOLVED else IPv4Address(f"127.18.{tun_number}.53")


def resolver_request(
    address: IPv4Address,
    cluster_domain: str,
    namespace: str,
    *,
    extra_zones: Iterable[str] = (),
    routed: Iterable[IPv4Network | IPv6Network] = (),
    is_known_as: bool = False,
) -> SetResolver:
    """Return the helper's request. `extra_zones`, `svc` and reverse names of `routed` are looked up, never appended.

    Where `cluster_domain` is not the cluster's own but a name that it is known as, short names are somebody else's.
    """
    own = {f"svc.{cluster_domain}", f"pod.{cluster_domain}"} if is_known_as else {"svc"}
    return SetResolver(
        nameservers=(address,),
        search=() if is_known_as else search_path(cluster_domain, namespace),
        routing_domains=(*sorted({*normalised(extra_zones), *own}), *reverse_domains(routed)),
        cluster_domain=cluster_domain,
    )


def reverse_domains(networks: Iterable[IPv4Network | IPv6Network]) -> Sequence[str]:
    """Return the reverse zones of the routed ranges, or fewer and wider ones where they would be too many.

    Wider ones do no harm: names that are not the cluster's go to the previous resolvers.
    """
    zones = dict.fromkeys(zone for network in networks for zone in reverse_zones(network))
    while len(zones) > REVERSE_DOMAINS_MAX:
        depth = max(zone.count(".") for zone in zones)
        zones = dict.fromkeys(zone.partition(".")[2] if zone.count(".") == depth else zone for zone in zones)
    return tuple(zone for zone in zones if zone.partition(".")[2] not in zones)
