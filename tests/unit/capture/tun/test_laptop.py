"""What the laptop's half of `connect` derives from what the helper saw."""

from ipaddress import ip_network
from typing import Any, cast

from ktpy.capture.tun.laptop import Laptop
from ktpy.helper.protocol import Resolver


def test_the_machines_name_servers_as_ranges() -> None:
    nameservers = ("192.0.2.53", "2001:db8::53", "fe80::1%eth0", "not-an-address")
    resolver = Resolver(kind="resolv.conf", form="file", nameservers=nameservers, search=(), options=())
    laptop = Laptop(cast(Any, None), cast(Any, None), (), resolver)
    assert laptop.name_servers == [ip_network("192.0.2.53"), ip_network("2001:db8::53"), ip_network("fe80::1")]
