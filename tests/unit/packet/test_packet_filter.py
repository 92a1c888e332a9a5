"""Filters over packets that scapy has built."""

from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, fragment6

from ktpy.packet.packet_filter import Address, FilterError, headers_of, parse_filter

LAPTOP, WEB, POD = "198.18.0.1", "10.96.0.1", "10.244.0.7"
NAMES = {"web": [WEB, "fd96::1"], "web.shop": [WEB]}
TO_WEB = IP(src=LAPTOP, dst=WEB) / TCP(sport=40000, dport=80)
FROM_WEB = IP(src=WEB, dst=LAPTOP) / TCP(sport=80, dport=40000) / (b"x" * 1000)
TO_WEB6 = IPv6(src="fd6b::1", dst="fd96::1") / TCP(sport=40000, dport=8080)
TO_DNS = IP(src=LAPTOP, dst=POD) / UDP(sport=5000, dport=53)
PING, PING6 = IP(src=LAPTOP, dst=POD) / ICMP(), IPv6(src="fd6b::1", dst="fd96::1") / ICMPv6EchoRequest()
ALL = {
    "to web": TO_WEB,
    "from web": FROM_WEB,
    "to web6": TO_WEB6,
    "to dns": TO_DNS,
    "ping": PING,
    "ping6": PING6,
}


def resolve(name: str) -> Sequence[Address]:
    return list(map(ip_address, NAMES.get(name, [])))


def matching(text: str, packets: dict[str, Any]) -> set[str]:
    matches = parse_filter(text, resolve)
    read = {name: headers_of(bytes(packet)) for name, packet in packets.items()}
    return {name for name, headers in read.items() if headers is not None and matches(headers)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", set(ALL)),
        ("tcp", {"to web", "from web", "to web6"}),
        ("udp", {"to dns"}),
        ("icmp", {"ping"}),
        ("icmp6", {"ping6"}),
        ("ip", {"to web", "from web", "to dns", "ping"}),
        ("ip6", {"to web6", "ping6"}),
        ("host web", {"to web", "from web", "to web6", "ping6"}),
        ("web.shop", {"to web", "from web"}),
        ("src web", {"from web"}),
        ("dst host web", {"to web", "to web6", "ping6"}),
        ("host 10.244.0.7", {"to dns", "ping"}),
        ("net 10.0.0.0/8", {"to web", "from web", "to dns", "ping"}),
        ("dst net 10.244.0.0/16", {"to dns", "ping"}),
        ("net fd96::/16", {"to web6", "ping6"}),
        ("port 80", {"to web", "from web"}),
        ("src port 80", {"from web"}),
        ("dst port 80 or 53", {"to web", "to dns"}),
        ("tcp portrange 8000-8099", {"to web6"}),
        ("tcp port 53", set()),
        ("host web and not port 80", {"to web6", "ping6"}),
        ("host web && !port 80", {"to web6", "ping6"}),
        ("not (tcp or udp)", {"ping", "ping6"}),
        ("!(tcp||udp)", {"ping", "ping6"}),
        ("udp or tcp and src port 80", {"to dns", "from web"}),
        ("greater 1000", {"from web"}),
        ("tcp and less 100", {"to web", "to web6"}),
    ],
)
def test_what_matches(text: str, names: set[str]) -> None:
    assert matching(text, ALL) == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("port", "A value is missing after port."),
        ("host and port 80", "A value is missing after host, before 'and'."),
        ("tcp and", "A value is missing after the filter."),
        ("(tcp", "A parenthesis is not closed."),
        ("tcp)", "')' is one word too many: `and` or `or` goes between two conditions."),
        ("tcp port 80 host web", "'host' is one word too many: `and` or `or` goes between two conditions."),
        ("port http", "'http' is no number from 0 to 65535."),
        ("port 65536", "'65536' is no number from 0 to 65535."),
        ("port ²", "'²' is no number from 0 to 65535."),
        ("portrange 80", "'80' is no range of ports (wanted: such as 8000-8099)."),
        ("net 10.0.0.0/40", "'10.0.0.0/40' is no network (wanted: such as 10.96.0.0/12)."),
        ("prot 80", "'prot' is neither an address nor a name of the cluster, nor a word of the filter."),
        ("tcp & udp", "'&' stands alone at character 5: wanted is && or ||."),
    ],
)
def test_what_is_no_filter(text: str, sentence: str) -> None:
    with pytest.raises(FilterError) as raised:
        parse_filter(text, resolve)
    assert str(raised.value) == sentence


@given(st.text(alphabet="tcpudor nshg0189.:/-()!&|", max_size=40))
def test_any_text_is_a_filter_or_told_not_to_be(text: str) -> None:
    with suppress(FilterError):
        parse_filter(text, resolve)


@given(st.binary(max_size=80))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    headers = headers_of(data)
    assert headers is None or headers.length == len(data)


def test_a_fragment_has_ports_in_the_first_part_only() -> None:
    parts = fragment(IP(src=LAPTOP, dst=POD) / UDP(sport=5000, dport=53) / (b"x" * 3000), fragsize=1480)
    assert matching("port 53", dict(zip("abc", parts, strict=False))) == {"a"}
    assert matching("udp", dict(zip("abc", parts, strict=False))) == {"a", "b", "c"}


def test_extension_headers_are_passed() -> None:
    whole = IPv6(src="fd6b::1", dst="fd96::1") / IPv6ExtHdrHopByHop() / UDP(sport=5000, dport=53)
    parts = fragment6(IPv6(dst="fd96::1") / IPv6ExtHdrFragment() / UDP(sport=5000, dport=53) / (b"x" * 3000), 1280)
    assert matching("udp port 53", {"whole": whole}) == {"whole"}
    assert matching("udp port 53", dict(zip("abc", parts, strict=False))) == {"a"}
