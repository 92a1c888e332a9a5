import re
from typing import Any

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from ktpy.pcap.lines import decoded, line

OUT = {"src": "198.18.0.1", "dst": "10.96.0.1"}
BACK = {"src": "10.96.0.1", "dst": "198.18.0.1"}
NAMES = {"10.96.0.1": "web.shop"}


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (IP(**OUT) / TCP(sport=4, dport=80, seq=5), "laptop:4 > web.shop:80 TCP S seq 5 ack 0 payload 0, 40 bytes"),
        (
            IP(**OUT) / TCP(sport=4, dport=80, flags="PA") / b"GET /x HTTP/1.1\r\nHost: web\r\n\r\n",
            "laptop:4 > web.shop:80 TCP PA seq 0 ack 0 payload 30 GET /x, 70 bytes",
        ),
        (
            IP(**BACK) / TCP(sport=80, dport=4, flags="PA") / b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "web.shop:80 > laptop:4 TCP PA seq 0 ack 0 payload 38 200 OK, 78 bytes",
        ),
        (
            IP(**OUT) / TCP(sport=4, dport=5432, flags="PA") / b"\0\0\0\x08",
            "laptop:4 > web.shop:5432 TCP PA seq 0 ack 0 payload 4, 44 bytes",
        ),
        (
            IP(**OUT) / UDP(sport=4, dport=53) / DNS(rd=1, qd=DNSQR(qname="web.shop.")),
            "laptop:4 > web.shop:53 UDP payload 26 DNS Qry web.shop., 54 bytes",
        ),
        (IP(**OUT) / ICMP(id=7, seq=2), "laptop > web.shop ICMP echo-request id 0x7 seq 0x2, 28 bytes"),
        (
            IPv6(dst="fd96::1") / TCP(sport=4, dport=443),
            "laptop:4 > [fd96::1]:443 TCP S seq 0 ack 0 payload 0, 60 bytes",
        ),
        (
            IPv6(dst="fd96::1") / ICMPv6EchoRequest(),
            "laptop > fd96::1 ICMP ICMPv6 Echo Request (id: 0x0 seq: 0x0), 48 bytes",
        ),
    ],
)
def test_a_packet_in_a_line(packet: Any, told: str) -> None:
    data = bytes(packet)
    shown = str(line(decoded(data), 1_800_000_000.123456, len(data), NAMES, is_sent=packet.src != BACK["src"]))
    at, _, rest = shown.partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.12345[56]", at)
    assert rest == told


def test_every_field_can_be_shown() -> None:
    assert "dport" in decoded(bytes(IP(**OUT) / TCP(dport=80))).show(dump=True)


@pytest.mark.parametrize("size", [20, 21, 27, 40])
def test_a_packet_that_is_cut_short_has_a_line(size: int) -> None:
    data = bytes(IP(**OUT) / TCP(dport=80) / b"GET / HTTP/1.1\r\n")[:size]
    assert line(decoded(data), 0.0, 56, NAMES, is_sent=True).length == 56
