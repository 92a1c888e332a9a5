"""What the laptop's half of `connect` derives from what the helper saw."""

from ipaddress import ip_network
from typing import Any, cast

from ktpy.capture.tun.laptop import Laptop, dns_numbers
from ktpy.dns.forward import Forwarder
from ktpy.dns.resolver import SplitResolver
from ktpy.dns.server import Server
from ktpy.dns.zone import Zone
from ktpy.helper.protocol import Resolver


def test_the_machines_name_servers_as_ranges() -> None:
    nameservers = ("192.0.2.53", "2001:db8::53", "fe80::1%eth0", "not-an-address")
    resolver = Resolver(kind="resolv.conf", form="file", nameservers=nameservers, search=(), options=())
    laptop = Laptop(cast(Any, None), cast(Any, None), (), resolver)
    assert laptop.name_servers == [ip_network("192.0.2.53"), ip_network("2001:db8::53"), ip_network("fe80::1")]


async def test_the_numbers_of_the_name_server() -> None:
    upstream, cluster = Forwarder(cast(Any, None)), Forwarder(cast(Any, None))
    cluster.cache_hits, upstream.exchanges = 2, 3
    resolver = SplitResolver(Zone(), upstream=upstream, cluster=cluster)
    resolver.counters.zone = 7
    server = Server(resolver, [], [])
    server.overloaded = 1
    told = dns_numbers(resolver, server, upstream=upstream, cluster=cluster)
    assert {name: number for name, number in told.items() if number} == {
        "zone": 7,
        "overloaded": 1,
        "cluster_cache_hits": 2,
        "upstream_exchanges": 3,
    }
